"""What a raw label volume holds: voxels per value, over all and per plane, read once in blocks."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.labels.table import MOST_CLASSES
from keras_unet3d.volumes import Volume, whole_numbers

# More values than these are instances, not classes, and nobody asks for their planes.
_MOST_VALUES = MOST_CLASSES + 8


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
    for box, block in volume.blocks():
        block = whole_numbers(volume.name, block[..., 0])
        in_block = _count(block)
        for value, count in in_block.items():
            counts[value] = counts.get(value, 0) + count
        few = few and len(counts) <= _MOST_VALUES
        if few:
            _add_planes(planes, block, box, in_block, volume.shape)
    return Survey(volume.name, volume.shape, dict(sorted(counts.items())), planes if few else {})


def _count(block: np.ndarray) -> dict[int, int]:
    low, high = int(block.min()), int(block.max())
    if high - low < 2**16:
        # Signed types are widened first: the range of an int8 is more than an int8 holds.
        wide = block if block.dtype.kind == "u" else block.astype(np.int64)
        counts = np.bincount((wide.ravel() - wide.dtype.type(low)).astype(np.int64))
        return {int(code) + low: int(counts[code]) for code in np.flatnonzero(counts)}
    values, voxels = np.unique(block, return_counts=True)
    return dict(zip(values.tolist(), voxels.tolist(), strict=True))


def _add_planes(planes: dict[int, Planes], block: np.ndarray, box: Box, values: Iterable[int], shape: Triple) -> None:
    for value in values:
        per_axis = planes.setdefault(value, triple(np.zeros(size, np.int64) for size in shape))
        held = block == value
        for axis, total in enumerate(per_axis):
            total[box[axis]] += held.sum(axis=tuple(other for other in range(3) if other != axis))


def refuse_channels(volume: Volume) -> None:
    """Raise `InputError` unless the label volume has one value per voxel."""
    if volume.channels != 1:
        raise InputError(
            f"{volume.name}: expected one label per voxel, found {volume.channels} channels; "
            "store integer labels, one class index per voxel."
        )
