"""A volume at another voxel size, read by crops like any other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.volumes.volume import Volume


def resampled(volume: Volume, shape: Triple) -> Volume:
    """Return the same field of view as `shape` voxels (z, y, x), interpolated linearly, float32.

    A crop reads only the voxels around it. A volume is not smoothed before it becomes coarser.
    """
    positions = [_positions(old, new) for old, new in zip(volume.shape, shape, strict=True)]

    def read(box: Box) -> np.ndarray:
        wanted = [at[side] for at, side in zip(positions, box, strict=True)]
        lower = [np.floor(at).astype(int) for at in wanted]
        upper = [np.minimum(low + 1, size - 1) for low, size in zip(lower, volume.shape, strict=True)]
        around = tuple(slice(low[0], up[-1] + 1) for low, up in zip(lower, upper, strict=True))
        voxels = volume.read(around).astype(np.float32)
        for axis, (at, low, up, side) in enumerate(zip(wanted, lower, upper, around, strict=True)):
            share = (at - low).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(4)])
            below, above = voxels.take(low - side.start, axis), voxels.take(up - side.start, axis)
            voxels = below + (above - below) * share
        return voxels

    return _of_other_size(volume, shape, read, np.dtype(np.float32))


def nearest(labels: Volume, shape: Triple) -> Volume:
    """Return the same field of view as `shape` voxels (z, y, x), each with the label that is closest.

    A crop reads only the voxels around it.
    """
    places = [_positions(old, new).round().astype(int) for old, new in zip(labels.shape, shape, strict=True)]

    def read(box: Box) -> np.ndarray:
        wanted = [at[side] for at, side in zip(places, box, strict=True)]
        around = tuple(slice(at[0], at[-1] + 1) for at in wanted)
        return labels.read(around)[np.ix_(*(at - at[0] for at in wanted))]

    return _of_other_size(labels, shape, read, labels.dtype)


def _of_other_size(volume: Volume, shape: Triple, read: Callable[[Box], np.ndarray], dtype: np.dtype) -> Volume:
    spacing = volume.spacing and triple(
        size * old / new for size, old, new in zip(volume.spacing, volume.shape, shape, strict=True)
    )
    return replace(volume, shape=triple(shape), dtype=dtype, read=read, spacing=spacing)


def _positions(old: int, new: int) -> np.ndarray:
    """Return where the centres of `new` voxels lie among those of `old` ones that cover the same length."""
    return ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
