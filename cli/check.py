"""`unet3d-cli check`."""

from pathlib import Path

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, Working, teaches
from keras_unet3d.cli.terminal import live
from keras_unet3d.errors import InputError
from keras_unet3d.settings import DataOptions


@teaches(
    "picture", "json_path", "unlabelled", example="check stack.h5 --picture stack.png", stopped="nothing was written"
)
@click.command("check", cls=Working)
@click.argument("data", nargs=-1, type=FILE)
@options.images
@options.labels
@options.weights
@options.json_file
@click.option(
    "--picture", type=FILE, metavar="FILE", help="Draw up to 6 annotated slices of up to 8 volumes to FILE, a PNG."
)
@options.overwrite
@options.settings(DataOptions)
def command(data, images, labels, weights, json_path, picture, overwrite, **given):
    """Read all data, say what is annotated, and name every fault before any training.

    DATA and the options are those of fit. Exit code 0: fit can go on; 2: there are faults.
    """
    from keras_unet3d.files import refuse_existing, refuse_unwritable
    from keras_unet3d.workflows.check.run import check

    if json_path and json_path != options.STANDARD_OUTPUT and not json_path.endswith(".json"):
        raise InputError(f"{json_path}: expected a file ending in .json; choose another name.")
    settings = options.given_settings(DataOptions, given)
    with options.figures_file(json_path, overwrite) as write, live("reading the data") as listener:
        if picture:
            refuse_existing(Path(picture), overwrite)
            refuse_unwritable(Path(picture))
        result = check(
            data,
            images=images,
            labels=labels,
            weights=weights,
            settings=settings,
            picture=picture,
            listener=listener,
        )
        write(result)
    if result["faults"]:
        raise InputError(
            f"expected data without faults, found {len(result['faults'])}, named above; mend and check again."
        )
