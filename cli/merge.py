"""`unet3d-cli merge`."""

import click

from keras_unet3d.cli import options


@click.command("merge")
@click.argument("folder", metavar="DIR")
@click.option("--out", required=True, metavar="FILE", help="Label volume to write; its suffix decides the format.")
@options.overwrite
def command(folder, out, overwrite):
    """Put the slices painted in DIR, which suggest made, into a label volume.

    The labels that there were already are kept; nothing is written over. The command to train on prints last.
    """
    from keras_unet3d.workflows.annotate.merge import merge

    merge(folder, out, overwrite=overwrite, say=click.echo)
