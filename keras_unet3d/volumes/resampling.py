"""A volume at another voxel size, read by crops like any other."""

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

    spacing = volume.spacing and triple(
        size * old / new for size, old, new in zip(volume.spacing, volume.shape, shape, strict=True)
    )
    return replace(volume, shape=triple(shape), dtype=np.dtype(np.float32), read=read, spacing=spacing)


def nearest(labels: np.ndarray, shape: Triple) -> np.ndarray:
    """Return labels `(z, y, x)` over the same field of view as `shape` voxels, each with the label that is closest."""
    places = [_positions(old, new).round().astype(int) for old, new in zip(labels.shape, shape, strict=True)]
    return labels[np.ix_(*places)]


def _positions(old: int, new: int) -> np.ndarray:
    """Return where the centres of `new` voxels lie among those of `old` ones that cover the same length."""
    return ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
