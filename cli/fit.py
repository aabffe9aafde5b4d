"""`unet3d-cli fit`."""

from pathlib import Path

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Greedy, teaches
from keras_unet3d.cli.terminal import STOPPED, live
from keras_unet3d.errors import InputError
from keras_unet3d.machine import hosts, kernels
from keras_unet3d.settings import FitSettings

# How a training by several processes goes on.
_AGAIN = "the same command on every host, and --resume"


@teaches("out", "minutes", "target", example="fit stack.h5 --out runs/stack --minutes 10")
@click.command("fit", cls=Greedy)
@click.argument("data", nargs=-1, type=FILE)
@options.run
@options.validation("Validation data [default: held out from DATA].")
@options.images
@options.labels
@options.weights
@options.option(
    "Training",
    "--config",
    type=FILE,
    metavar="FILE",
    help="Options in JSON, or a run's config.json; the command line wins.",
)
@options.option(
    "Training", "--folds", type=int, metavar="K", help="Train K networks in RUN, each on all but one K-th of DATA."
)
@options.option(
    "Training", "--final", is_flag=True, help="After --folds: one network on everything, for as long as they were best."
)
@options.option(
    "Training", "--resume", is_flag=True, help="Go on with RUN where it was stopped; begin it where there is none."
)
@options.option(
    "Training", "--from", "start", type=MODEL, metavar="MODEL", help="Train a run's, bundle's or named model further."
)
@options.option("Machine", "--profile", is_flag=True, help="Measure first where the time of a step goes.")
@options.option(
    "Machine",
    "--hosts",
    "address",
    metavar="ADDRESS:PORT",
    help="Train by several processes, all given the same call: where the first one is; or auto, in a job of SLURM or Open MPI.",
)
@options.option(
    "Machine", "--host", metavar="1/N", help="Which of how many processes this one is, for --hosts ADDRESS:PORT."
)
@options.overwrite
@options.settings(FitSettings)
def command(
    data,
    out,
    val,
    images,
    labels,
    weights,
    config,
    folds,
    final,
    resume,
    start,
    profile,
    address,
    host,
    overwrite,
    **given,
):
    """Train a network on volumes with some labels.

    DATA: HDF5 or Zarr (image `raw`, labels `label`), folders of them, a folder with dataset.json (Medical
    Segmentation Decathlon or nnU-Net), or the word sample: the embedded data set. Pairs of volume files
    are given with --images and --labels.
    """
    settings = options.settings_from(config, given)
    kernels.load_backend_quietly()
    if address or host:
        hosts.join(address, host)
    from keras_unet3d import zoo
    from keras_unet3d.cli.next_steps import after_fit, after_folds, after_stop
    from keras_unet3d.run_folder import FoldsFolder
    from keras_unet3d.workflows.fit.folds import fit_folds
    from keras_unet3d.workflows.fit.run import Start, fit

    in_folds = folds is not None or (resume and FoldsFolder(Path(out)).is_folds)
    _refuse_together(in_folds, val=val, profile=profile, final=final)
    begins_with = Start(zoo.load(start), start) if start else None
    named = {"images": images, "labels": labels, "weights": weights, "settings": settings, "start": begins_with}
    how = {"resume": resume, "overwrite": overwrite}
    try:
        with live("reading the data") as listener:
            if in_folds:
                listener.say(after_folds(fit_folds(data, out, folds, **named, final=final, **how, listener=listener)))
            else:
                run = fit(data, out, val=val, **named, profile=profile, **how, listener=listener)
                if hosts.leads():
                    listener.say(after_fit(run))
    except STOPPED as stop:
        raise click.Abort(after_stop(out, _AGAIN if address else "")) from stop
    except hosts.HostLost as lost:
        raise click.Abort(f"{lost}; {after_stop(out, _AGAIN)}") from lost


def _refuse_together(in_folds, *, val, profile, final):
    """Raise `InputError` for options that are for several folds, or for a single fit, only."""
    for name, given in {"val": val, "profile": profile}.items():
        if in_folds and given:
            raise InputError(f"folds: expected without `{name}`, found both; leave one of them out.")
    if final and not in_folds:
        raise InputError("final: expected `folds` too, whose best epochs it takes, found none; add them.")
