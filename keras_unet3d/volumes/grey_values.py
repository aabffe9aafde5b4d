"""Grey values to the network's range, by statistics of the volume itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.volumes import Volume

# A section whose deviation is less than this share of the volume's holds nothing but one value.
_EMPTY = 1e-6


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation, smallest and largest value per channel over a whole volume, in its own units.

    For the normalisation "sections" mean and standard deviation are those of every plane, `(z, 1, 1, channels)`.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of_planes(self, planes: slice) -> "Statistics":
        """Return the statistics of some planes across z."""
        if np.ndim(self.mean) < 4:
            return self
        return replace(self, mean=self.mean[planes], std=self.std[planes])


@dataclass
class _Sums:
    """Sums per plane and channel, of the differences to a pivot: the variance of large values would cancel without one.

    Attributes:
        total, squares: the sum of the differences, and of their squares, `(z, channels)`.
        low, high: the smallest and largest value per channel.
        pivot: the mean of the first block; None before it.
    """

    total: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pivot: np.ndarray | None = None

    def add(self, planes: slice, voxels: np.ndarray) -> None:
        """Add the voxels of a block, `(z, y, x, channels)`, float64; they are changed."""
        if self.pivot is None:
            self.pivot = voxels.mean(axis=(0, 1, 2))
        self.low = np.minimum(self.low, voxels.min(axis=(0, 1, 2)))
        self.high = np.maximum(self.high, voxels.max(axis=(0, 1, 2)))
        voxels -= self.pivot
        self.total[planes] += voxels.sum(axis=(1, 2))
        # Values that are too large to be squared are refused later, in a sentence.
        with np.errstate(over="ignore"):
            self.squares[planes] += np.square(voxels).sum(axis=(1, 2))

    def moments(self, voxels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation per plane and channel, where planes have so many voxels."""
        return _moments(self.total, self.squares, voxels, self.pivot)

    def moments_of_all(self, voxels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return them per channel, over all planes."""
        return _moments(self.total.sum(axis=0), self.squares.sum(axis=0), voxels * len(self.total), self.pivot)


def _moments(total: np.ndarray, squares: np.ndarray, count: int, pivot: Any) -> tuple[np.ndarray, np.ndarray]:
    mean = total / count
    with np.errstate(over="ignore", invalid="ignore"):
        return mean + pivot, np.sqrt(np.maximum(squares / count - mean**2, 0.0))


def measure(volume: Volume, how: str = "zscore") -> Statistics:
    """Return the statistics of `volume` that the normalisation `how` needs, read in blocks.

    Raises:
        InputError: NaN or infinite voxels, or a channel that is constant, except for "none".
    """
    sums, area = _summed(volume), volume.shape[1] * volume.shape[2]
    mean, std = sums.moments_of_all(area)
    constant = _constant(mean, std)
    if not np.isfinite(std).all():
        raise InputError(
            f"{volume.name}: expected grey values whose squares are finite, found values up to {np.max(sums.high):.3g}; "
            "scale them down, or leave the file out."
        )
    if how != "none" and constant.any():
        raise InputError(
            f"{volume.name}: expected an image, found the constant value {float(mean[constant][0]):g} in "
            "every voxel of a channel; check the file, or leave it out."
        )
    if how == "sections":
        of_planes, deviations = sums.moments(area)
        # An empty section has nothing to be scaled by: it becomes 0 throughout.
        deviations = np.where(deviations < _EMPTY * std, std, deviations)
        mean, std = of_planes[:, None, None], deviations[:, None, None]
    return Statistics(mean, std, sums.low, sums.high)


def _constant(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return std <= 1e-12 * np.maximum(np.abs(mean), 1e-30)


def _summed(volume: Volume) -> _Sums:
    per_plane, zero = (volume.shape[0], volume.channels), np.zeros(volume.channels)
    sums, broken = _Sums(np.zeros(per_plane), np.zeros(per_plane), zero + np.inf, zero - np.inf), 0
    for box, block in volume.blocks():
        voxels = block.astype(np.float64)
        broken += int((~np.isfinite(voxels)).any(axis=-1).sum())
        # Once a voxel is broken, the rest of the volume is only searched for more of them.
        if not broken:
            sums.add(box[0], voxels)
    if broken:
        raise InputError(
            f"{volume.name}: expected finite grey values, found NaN or infinity in {broken} voxels; "
            "replace them, or leave the file out."
        )
    return sums


def _zscore(voxels: np.ndarray, statistics: Statistics) -> np.ndarray:
    # Single precision takes half the memory and time, and is enough where the voxels themselves have no more digits.
    precision = np.result_type(voxels.dtype, np.float32)
    mean, std = (np.asarray(value, precision) for value in (statistics.mean, statistics.std))
    return np.divide(np.subtract(voxels, mean, dtype=precision), std, dtype=precision).astype(np.float32, copy=False)


def _none(voxels: np.ndarray, statistics: Statistics) -> np.ndarray:
    return voxels.astype(np.float32, copy=False)


NORMALIZERS: dict[str, Callable[[np.ndarray, Statistics], np.ndarray]] = {
    "zscore": _zscore,
    "sections": _zscore,
    "none": _none,
}


def normalized(volume: Volume, statistics: Statistics, how: str = "zscore") -> Volume:
    """Return the same volume with normalised grey values, float32, whatever box of it is read; see `normalize`."""

    def read(box: Box) -> np.ndarray:
        return normalize(volume.read(box), statistics.of_planes(box[0]), how)

    return replace(volume, dtype=np.dtype(np.float32), read=read)


def normalize(voxels: np.ndarray, statistics: Statistics, how: str = "zscore") -> np.ndarray:
    """Return float32 voxels `(z, y, x, channels)`, with the statistics of their planes.

    "zscore" is by mean and deviation per volume and channel, "sections" by those of every plane across z, where sections
    were stained or recorded one by one; "none" leaves them as they are.
    """
    if how not in NORMALIZERS:
        raise InputError(f"normalization: expected one of {', '.join(NORMALIZERS)}; found {how!r}.")
    return NORMALIZERS[how](voxels, statistics)
