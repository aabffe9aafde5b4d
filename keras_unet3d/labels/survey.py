"""What a raw label volume holds: voxels per value, over all and per plane, read once in blocks."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.labels.table import MOST_CLASSES
from keras_unet3d.volumes import Volume, in_threads, whole_numbers

# More values than these are instances, not classes, and nobody asks for their planes.
_MOST_VALUES = MOST_CLASSES + 8
# Values so close together are counted one by one, which is faster than all of them at once.
_FEW = 16


# The voxels of a value in every plane across z, y and x.
Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Survey:
    """What a label volume holds.

    Attributes:
        name: of the volume.
        shape: voxels (z, y, x).
        counts: voxels per raw value, in the order of the values.
        planes: raw value -> three arrays, its voxels in every plane across z, y and x; empty for a volume of
            more values than there may be classes.
    """

    name: str
    shape: Triple
    counts: dict[int, int]
    planes: dict[int, Planes] = field(repr=False)


def survey(volume: Volume) -> Survey:
    """Return what the label volume holds.

    Raises:
        InputError: labels with channels, NaN, or values that are not whole numbers.
    """
    refuse_channels(volume)
    counts: dict[int, int] = {}
    planes: dict[int, Planes] = {}
    few = True
    for box, in_block, in_planes in in_threads(partial(_counted, volume), volume.boxes()):
        for value, count in in_block.items():
            counts[value] = counts.get(value, 0) + count
        few = few and len(counts) <= _MOST_VALUES
        for value, per_axis in in_planes.items() if few else ():
            totals = planes.setdefault(value, triple(np.zeros(size, np.int64) for size in volume.shape))
            for total, part, held in zip(totals, box, per_axis, strict=True):
                total[part] += held
    return Survey(volume.name, volume.shape, dict(sorted(counts.items())), planes if few else {})


def _counted(volume: Volume, box: Box) -> tuple[Box, dict[int, int], dict[int, Planes]]:
    """Return what a box holds: voxels per value, and per value and plane where there are few."""
    block = whole_numbers(volume.name, volume.read(box)[..., 0])
    counts = _count(block)
    few = len(counts) <= _MOST_VALUES
    return box, counts, {value: per_plane(block == value) for value in counts} if few else {}


def per_plane(held: np.ndarray) -> Planes:
    """Return how many voxels are true in every plane across z, y and x."""
    # Small numbers are added up first: a row of a block has few voxels.
    small = np.uint16 if max(held.shape) < 2**16 else np.int64
    over_z, over_y = (np.add.reduce(held.view(np.uint8), axis=axis, dtype=small) for axis in (0, 1))
    return over_y.sum(axis=1, dtype=np.int64), over_z.sum(axis=1, dtype=np.int64), over_z.sum(axis=0, dtype=np.int64)


def _count(block: np.ndarray) -> dict[int, int]:
    low, high = int(block.min()), int(block.max())
    if high - low < _FEW:
        counted = {value: int(np.count_nonzero(block == value)) for value in range(low, high + 1)}
        return {value: count for value, count in counted.items() if count}
    if high - low < 2**16:
        # Signed types are widened first: the range of an int8 is more than an int8 holds.
        wide = block if block.dtype.kind == "u" else block.astype(np.int64)
        counts = np.bincount((wide.ravel() - wide.dtype.type(low)).astype(np.int64))
        return {int(code) + low: int(counts[code]) for code in np.flatnonzero(counts)}
    values, voxels = np.unique(block, return_counts=True)
    return dict(zip(values.tolist(), voxels.tolist(), strict=True))


def refuse_channels(volume: Volume) -> None:
    """Raise `InputError` unless the label volume has one value per voxel."""
    if volume.channels != 1:
        raise InputError(
            f"{volume.name}: expected one label per voxel, found {volume.channels} channels; "
            "store integer labels, one class index per voxel."
        )
