"""`unet3d-cli report`."""

import click

from keras_unet3d.cli.command import FILE, Working, teaches
from keras_unet3d.cli.terminal import live
from keras_unet3d.machine import kernels


@teaches(example="report runs/stack", stopped="the page is as it was")
@click.command("report", cls=Working)
@click.argument("run", type=FILE)
def command(run):
    """Make the page of RUN, or make it anew: curves, figures, volumes to look through, and where the time went.

    RUN is the folder of a fit. The page is RUN/report.html, one file that any browser shows without a network connection.
    """
    kernels.load_backend_quietly()
    from pathlib import Path

    from keras_unet3d import zoo
    from keras_unet3d.run_folder import RunFolder
    from keras_unet3d.workflows.report.run import make_report

    with live("making the page") as listener:
        predictor = zoo.predictor(run) if RunFolder(Path(run)).network.is_file() else None
        make_report(run, predictor, listener)
