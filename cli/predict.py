"""`unet3d-cli predict`."""

from dataclasses import replace

import click

from keras_unet3d import runtime
from keras_unet3d.cli import options
from keras_unet3d.cli.terminal import live


@click.command("predict")
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="PATH", help="A volume for one input, or a folder.")
@click.option("--probabilities", is_flag=True, help="Write class probabilities instead of labels.")
@click.option("--tile", type=int, nargs=3, metavar="Z Y X", help="Size of the network's input [default: chosen].")
@options.overlap
@click.option("--raw-key", help="Data set of the image in HDF5 or Zarr [default: as in training].")
@click.option("--axes", help="Order of the file's axes, e.g. czyx [default: as in training].")
@options.overwrite
def command(model, inputs, out, probabilities, tile, overlap, raw_key, axes, overwrite):
    """Segment volumes with a trained network.

    MODEL is a run folder, a bundle, or a name that `unet3d-cli zoo list` shows. The result has the format,
    geometry and voxel size of the input, and the label values of the training data.
    """
    runtime.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.workflows.predict import predict

    predictor = zoo.predictor(model)
    if tile:
        predictor = replace(predictor, tile=tile)
    with live("tiles") as (say, progress):
        predict(
            predictor,
            inputs,
            out,
            output="probabilities" if probabilities else "labels",
            overlap=overlap,
            raw_key=raw_key,
            axes=axes,
            overwrite=overwrite,
            say=say,
            progress=progress,
        )
