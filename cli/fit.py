"""`unet3d-cli fit`."""

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.terminal import STOPPED, live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import FitSettings


@click.command("fit", cls=options.Greedy)
@click.argument("data", nargs=-1)
@click.option("--out", required=True, metavar="RUN", help="Folder to make for the run.")
@click.option("--val", multiple=True, metavar="DATA...", help="Validation data [default: held out from DATA].")
@options.images
@options.labels
@options.weights
@click.option("--config", metavar="FILE", help="Options in JSON, or a run's config.json; the command line wins.")
@click.option("--resume", is_flag=True, help="Go on with RUN where it was stopped; begin it where there is none.")
@click.option("--from", "start", metavar="MODEL", help="Train a run's, bundle's or named model further.")
@click.option("--profile", is_flag=True, help="Measure first where the time of a step goes.")
@options.overwrite
@options.settings(FitSettings)
def command(data, out, val, images, labels, weights, config, resume, start, profile, overwrite, **given):
    """Train a network on volumes with some labels.

    DATA: HDF5 or Zarr (image `raw`, labels `label`), folders of them, a folder with dataset.json (Medical
    Segmentation Decathlon or nnU-Net), or the word sample: the embedded data set. Pairs of volume files
    are given with --images and --labels.
    """
    settings = options.settings_from(config, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.cli.next_steps import after_fit, after_stop
    from keras_unet3d.workflows.fit.run import Start, fit

    try:
        with live("training") as listener:
            run = fit(
                data,
                out,
                val=val,
                images=images,
                labels=labels,
                weights=weights,
                settings=settings,
                start=Start(zoo.load(start), start) if start else None,
                resume=resume,
                profile=profile,
                overwrite=overwrite,
                listener=listener,
            )
            listener.say(after_fit(run))
    except STOPPED as stop:
        raise click.Abort(after_stop(out)) from stop
