"""`unet3d-cli distill`."""

from dataclasses import fields

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Greedy, teaches
from keras_unet3d.cli.terminal import STOPPED, live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import FitSettings

# What the model that is learnt from has decided.
_DECIDED = {"num_classes", "classes", "target", "validation_share", "fold"}
_OPTIONS = [field.name for field in fields(FitSettings) if field.name not in _DECIDED]


@teaches("out", "images", "minutes", example="distill runs/folds Task04_Hippocampus --out runs/one")
@click.command("distill", cls=Greedy)
@click.argument("model", type=MODEL)
@click.argument("data", nargs=-1, type=FILE)
@options.run
@options.validation("Validation data that MODEL has not seen.")
@options.images
@options.labels
@options.weights
@options.option(
    "Training", "--resume", is_flag=True, help="Go on with RUN where it was stopped; give MODEL and DATA again."
)
@options.overwrite
@options.settings(FitSettings, only=_OPTIONS)
def command(model, data, out, val, images, labels, weights, resume, overwrite, **given):
    """Train one network to say what an ensemble says.

    MODEL is as in predict, mostly the folder of fit --folds. DATA are as in fit; --images without --labels are
    images that nobody labelled. MODEL labels every voxel that is unlabelled, and its probabilities of every
    augmented patch are learnt beside the labels. The result is a run like any other.
    """
    settings = options.given_settings(FitSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.cli.next_steps import after_fit, after_stop
    from keras_unet3d.workflows.fit.run import fit
    from keras_unet3d.workflows.fit.teacher import Teacher

    network, spec = zoo.open_model(model)
    try:
        with live("reading the data") as listener:
            run = fit(
                data,
                out,
                val=val,
                images=images,
                labels=labels,
                weights=weights,
                settings=settings,
                teacher=Teacher(network, spec, model),
                resume=resume,
                overwrite=overwrite,
                listener=listener,
            )
            listener.say(after_fit(run))
    except STOPPED as stop:
        raise click.Abort(after_stop(out, "the same command and --resume")) from stop
