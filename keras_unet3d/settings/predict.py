"""What a prediction can be told, and what is done to its labels."""

from collections.abc import Iterator
from dataclasses import dataclass

from keras_unet3d.choices import BORDERS, MERGES, PREDICTION_ENGINES, PREDICTION_PRECISIONS
from keras_unet3d.fields import Validated, option
from keras_unet3d.geometry import MOST_BATCH, MOST_SIZE, Triple
from keras_unet3d.settings.texts import flip_faults, parse_bytes


@dataclass(frozen=True, kw_only=True)
class PredictSettings(Validated):
    """How a volume of any size is predicted; the command line's options have these names.

    None means: chosen by the network, the volume and the machine.
    """

    tile: Triple | None = option(
        None, "Size of the network's input, voxels z y x [default: chosen].", least=1, most=MOST_SIZE
    )
    merge: str = option(
        "auto",
        "exact: as one pass over the whole volume; blend: overlapping tiles, weighted by a Gaussian; auto: exact "
        "where the network allows it and memory does.",
        ("auto", *MERGES),
    )
    overlap: float = option(0.5, "Share of a blended tile in common with its neighbour.", least=0)
    border: str = option("mirror", "What is beyond the volume: its mirror image, or its outermost voxels.", BORDERS)
    max_ram: str | None = option(None, "Most memory of the whole process, like 4G [default: half of what is free].")
    batch_size: int = option(1, "Tiles per call of the network; more than 1 is for GPUs.", least=1, most=MOST_BATCH)
    flips: str | None = option(None, "Average over mirrored tiles, along these axes, like yx [default: none].")
    rotations: bool = option(False, "Average over quarter turns in the plane of y and x.")
    skip_below: float | None = option(
        None, "Tiles of which no grey value is above this are background, without asking the network [default: none]."
    )
    clean: bool = option(True, "Clean labels as the fit found to help, where it did.")

    def faults(self) -> Iterator[str]:
        yield from flip_faults(self.flips)
        if not self.overlap < 1:
            yield f"overlap: expected a share from 0 to below 1, found {self.overlap}."
        if self.merge == "exact" and self.overlap != type(self).overlap:
            yield f"overlap: expected none with `merge=exact`, whose tiles do not overlap, found {self.overlap}; leave one out."
        if self.max_ram is not None:
            parse_bytes(self.max_ram)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Validated):
    """What computes a prediction, and in which precision."""

    engine: str = option(
        "auto",
        "What computes; auto: for large volumes the fastest that is installed, timed once. A SavedModel is a program: of "
        "people you trust.",
        ("auto", *PREDICTION_ENGINES),
    )
    precision: str = option(
        "auto",
        "Numbers that are multiplied; auto: the fastest for the labels of large volumes, else float32. A lower one is "
        "proved on parts of the first volume.",
        ("auto", *PREDICTION_PRECISIONS),
    )
    most_changed: float = option(
        0.001, "Largest share of voxels whose class may be another than in float32.", least=0, most=1
    )


@dataclass(frozen=True, kw_only=True)
class CleanSettings(Validated):
    """What is done to a predicted label volume as a whole."""

    keep_largest: bool = option(False, "Keep only the largest connected piece of every class.")
    remove_small: int = option(0, "Remove connected pieces of fewer voxels than this.", least=0)
    fill_holes: bool = option(False, "Fill background that a class encloses.")
    instances: bool = option(
        False, "Cut instances 1, 2, ... along boundaries; for networks of `target=boundaries` or `target=cells`."
    )

    def faults(self) -> Iterator[str]:
        if self.instances and (self.keep_largest or self.fill_holes):
            yield "instances: expected without `keep_largest` and `fill_holes`, found one of them too; leave one out."
