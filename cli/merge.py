"""`unet3d-cli merge`."""

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, Working, teaches
from keras_unet3d.cli.terminal import live


@teaches(example="merge next --out more_labels.h5", stopped="nothing was written")
@click.command("merge", cls=Working)
@click.argument("folder", type=FILE, metavar="DIR")
@click.option(
    "--out", required=True, type=FILE, metavar="FILE", help="Label volume to write; its suffix decides the format."
)
@options.overwrite
def command(folder, out, overwrite):
    """Put the slices painted in DIR, which suggest made, into a label volume.

    What you did not paint keeps its label, and what you painted over is counted; no file is written over. The command
    to train on prints last.
    """
    from keras_unet3d.cli.next_steps import after_merge
    from keras_unet3d.workflows.annotate.merge import merge

    with live("merging") as listener:
        merge(folder, out, overwrite=overwrite, listener=listener)
        listener.say(after_merge(folder, out))
