"""`unet3d-cli measure`."""

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, Working, teaches
from keras_unet3d.cli.terminal import live


@teaches(example="measure numbered.h5 stack.h5 --out cells.csv", stopped="nothing was written")
@click.command("measure", cls=Working)
@click.argument("labels", type=FILE)
@click.argument("image", required=False, type=FILE)
@click.option(
    "--out", required=True, type=FILE, metavar="TABLE", help="Table to write, .csv or .parquet; a .png goes beside it."
)
@click.option("--background", type=int, default=0, show_default=True, help="Label of what belongs to no object.")
@click.option("--spacing", type=float, nargs=3, metavar="Z Y X", help="Voxel size [default: that of the files].")
@click.option("--unit", help="Unit of the voxel size [default: that of the files; um with --spacing].")
@click.option("--label-key", default="label", show_default=True, help="Data set of LABELS in HDF5 and Zarr.")
@click.option("--raw-key", default="raw", show_default=True, help="Data set of IMAGE in HDF5 and Zarr.")
@click.option("--axes", help="Order of the files' axes, e.g. czyx.")
@click.option("--scene", help="Which of several scenes of a file, by name or number.")
@click.option("--time", type=click.IntRange(0), help="Which of several points in time of a file, from 0.")
@options.overwrite
def command(labels, image, **given):
    """Write a table with a row per object of the label volume LABELS: per instance, or per class.

    Volume, centroid, bounding box, surface, equivalent diameter, sphericity, whether it touches the border, and with IMAGE
    the mean, the minimum and the maximum of the grey values of every channel. Volumes may be larger than the memory.
    """
    from keras_unet3d.workflows.measure import measure

    with live("measuring") as listener:
        measure(labels, image, listener=listener, **given)
