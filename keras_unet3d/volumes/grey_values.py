"""Grey values to the network's range, by statistics of the volume itself."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import Volume


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation, smallest and largest value per channel over a whole volume, in its own units."""

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass
class _Sums:
    """Sums per channel, of the differences to a pivot: the variance of large values would cancel without one.

    Attributes:
        count: voxels so far.
        pivot: the mean of the first block.
        total, squares: the sum of the differences, and of their squares.
        low, high: the smallest and largest value.
    """

    count: int
    pivot: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def add(self, voxels: np.ndarray) -> None:
        """Add the voxels of a block, `(voxels, channels)`, float64; they are changed."""
        if not self.count:
            self.pivot = voxels.mean(axis=0)
        self.low, self.high = np.minimum(self.low, voxels.min(axis=0)), np.maximum(self.high, voxels.max(axis=0))
        voxels -= self.pivot
        self.count += len(voxels)
        self.total = self.total + voxels.sum(axis=0)
        # Values that are too large to be squared are refused later, in a sentence.
        with np.errstate(over="ignore"):
            self.squares = self.squares + np.square(voxels).sum(axis=0)


def measure(volume: Volume, how: str = "zscore") -> Statistics:
    """Return the statistics of `volume` that the normalisation `how` needs, read in blocks.

    Raises:
        InputError: NaN or infinite voxels, or, for "zscore", a channel that is constant.
    """
    sums = _summed(volume)
    mean = sums.total / sums.count
    with np.errstate(over="ignore", invalid="ignore"):
        std = np.sqrt(np.maximum(sums.squares / sums.count - mean**2, 0.0))
    mean = mean + sums.pivot
    constant = std <= 1e-12 * np.maximum(np.abs(mean), 1e-30)
    if not np.isfinite(std).all():
        raise InputError(
            f"{volume.name}: expected grey values whose squares are finite, found values up to {np.max(sums.high):.3g}; "
            "scale them down, or leave the file out."
        )
    if how == "zscore" and constant.any():
        raise InputError(
            f"{volume.name}: expected an image, found the constant value {float(mean[constant][0]):g} in "
            "every voxel of a channel; check the file, or leave it out."
        )
    return Statistics(mean, std, sums.low, sums.high)


def _summed(volume: Volume) -> _Sums:
    zero = np.zeros(volume.channels)
    sums, broken = _Sums(0, zero, zero, zero, zero + np.inf, zero - np.inf), 0
    for _, block in volume.blocks():
        voxels = block.reshape(-1, volume.channels).astype(np.float64)
        broken += int((~np.isfinite(voxels)).any(axis=-1).sum())
        # Once a voxel is broken, the rest of the volume is only searched for more of them.
        if not broken:
            sums.add(voxels)
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


NORMALIZERS: dict[str, Callable[[np.ndarray, Statistics], np.ndarray]] = {"zscore": _zscore, "none": _none}


def normalize(voxels: np.ndarray, statistics: Statistics, how: str = "zscore") -> np.ndarray:
    """Return float32 voxels `(z, y, x, channels)`: "zscore" (per volume and channel) or "none"."""
    if how not in NORMALIZERS:
        raise InputError(f"normalization: expected one of {', '.join(NORMALIZERS)}; found {how!r}.")
    return NORMALIZERS[how](voxels, statistics)
