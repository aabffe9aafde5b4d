"""`unet3d-cli evaluate`."""

from dataclasses import replace

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.terminal import live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import FitSettings, PredictSettings


@click.command("evaluate")
@click.argument("model")
@click.argument("data", nargs=-1)
@options.images
@options.labels
@options.settings(FitSettings, only=("unlabelled",))
@click.option("--held-out", is_flag=True, help="Only the volumes that the fit of MODEL, a run, held out.")
@click.option("--instances", is_flag=True, help="Also compare the cells that predict --instances cuts.")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE as well.")
@click.option("--raw-key", help="Data set of the image [default: as in training].")
@click.option("--label-key", help="Data set of the labels [default: as in training].")
@click.option("--axes", help="Order of the files' axes, e.g. czyx [default: as in training].")
@options.settings(PredictSettings)
@options.overwrite
def command(
    model,
    data,
    images,
    labels,
    unlabelled,
    held_out,
    instances,
    json_path,
    raw_key,
    label_key,
    axes,
    overwrite,
    **given,
):
    """Measure IoU and Dice on labelled volumes.

    MODEL and DATA are as in predict and fit. Unlabelled voxels count nowhere; the means leave out the background.
    With --instances also the adapted Rand error of cells, 0 where they are equal.
    """
    settings = options.given_settings(PredictSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.workflows.evaluate import evaluate

    keys = {name: value for name, value in {"raw": raw_key, "label": label_key, "axes": axes}.items() if value}
    with options.figures_file(json_path, overwrite) as write, live("volumes") as listener:
        predictor = zoo.predictor(model)
        result = evaluate(
            predictor,
            data,
            images=images,
            labels=labels,
            keys=replace(predictor.spec.keys, **keys),
            unlabelled=unlabelled,
            only=zoo.held_out_files(model) if held_out else None,
            settings=settings,
            instances=instances,
            listener=listener,
        )
        write(result)
