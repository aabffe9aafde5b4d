"""What a prediction can be told, and what is done to its labels."""

import math
from dataclasses import dataclass

from keras_unet3d.errors import InputError
from keras_unet3d.fields import check_options, option
from keras_unet3d.geometry import Triple
from keras_unet3d.patches.source import BORDERS
from keras_unet3d.prediction.tiling import MERGES
from keras_unet3d.settings.fit import check_flips


@dataclass(frozen=True)
class PredictSettings:
    """How a volume of any size is predicted; the command line's options have these names.

    None means: chosen by the network, the volume and the machine.
    """

    tile: Triple | None = option(None, "Size of the network's input, voxels z y x [default: chosen].", least=1)
    merge: str = option(
        "auto",
        "exact: as one pass over the whole volume; blend: overlapping tiles, weighted by a Gaussian; auto: exact "
        "where the network allows it and memory does.",
        ("auto", *MERGES),
    )
    overlap: float = option(0.5, "Share of a blended tile in common with its neighbour.", least=0)
    border: str = option("mirror", "What is beyond the volume: its mirror image, or its outermost voxels.", BORDERS)
    max_ram: str | None = option(None, "Most memory of the whole process, like 4G [default: half of what is free].")
    batch_size: int = option(1, "Tiles per call of the network; more than 1 is for GPUs.", least=1)
    flips: str | None = option(None, "Average over mirrored tiles, along these axes, like yx [default: none].")
    rotations: bool = option(False, "Average over quarter turns in the plane of y and x.")
    skip_below: float | None = option(
        None, "Tiles of which no grey value is above this are background, without asking the network [default: none]."
    )

    def __post_init__(self):
        check_options(self)
        check_flips(self.flips)
        if not self.overlap < 1:
            raise InputError(f"overlap: expected a share from 0 to below 1, found {self.overlap}.")
        if self.max_ram is not None:
            parse_bytes(self.max_ram)


@dataclass(frozen=True)
class CleanSettings:
    """What is done to a predicted label volume as a whole, which is held in memory for it."""

    keep_largest: bool = option(False, "Keep only the largest connected piece of every class.")
    remove_small: int = option(0, "Remove connected pieces of fewer voxels than this.", least=0)
    fill_holes: bool = option(False, "Fill background that a class encloses.")
    instances: bool = option(False, "From boundaries to instances 1, 2, ..., by watershed; for --target boundaries.")

    def __post_init__(self):
        check_options(self)


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int:
    """Return the bytes that a text like 4G, 512M or 1.5G means."""
    number = text.upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in "KMGT" else ""
    try:
        count = float(number.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        count = 0
    if not 0 < count < math.inf:
        raise InputError(f"max_ram: expected an amount of memory like 4G or 500M, found {text!r}.")
    return int(count)
