"""`unet3d-cli suggest`."""

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Working, teaches
from keras_unet3d.cli.terminal import live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import PredictSettings


@teaches("out", "count", "across", example="suggest runs/stack stack.h5 --out next", stopped="nothing was written")
@click.command("suggest", cls=Working)
@click.argument("model", type=MODEL)
@click.argument("volume", type=FILE)
@click.option(
    "--out", required=True, type=FILE, metavar="DIR", help="Folder to make: list, picture, slices to paint on."
)
@options.option(
    "Data and labels", "--labels", type=FILE, metavar="FILE", help="Labels so far [default: those beside the image]."
)
@click.option("--count", type=click.IntRange(1), default=5, show_default=True, help="How many slices.")
@click.option(
    "--across", type=click.Choice(("z", "y", "x")), multiple=True, help="Only slices across this axis; may be repeated."
)
@options.settings(PredictSettings)
@options.overwrite
def command(model, volume, out, labels, count, across, overwrite, **given):
    """Say which slices to annotate next, and write them to paint on.

    MODEL is as in predict, VOLUME a volume it was trained on or any other. Slices are ranked by the network's
    uncertainty over voxels without a label, away from annotated slices. merge brings the painted slices back.
    """
    settings = options.given_settings(PredictSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.cli.next_steps import after_suggest
    from keras_unet3d.workflows.annotate.suggest import suggest

    predictor = zoo.predictor(model)
    with live("predicting") as listener:
        suggest(
            predictor,
            volume,
            out,
            labels=labels,
            count=count,
            across=across or ("z", "y", "x"),
            settings=settings,
            overwrite=overwrite,
            listener=listener,
        )
        listener.say(after_suggest(out))
