"""Grey values to the network's range, by statistics of the volume itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.volumes import Volume

# A section whose deviation is less than this share of the volume's holds nothing but one value.
_EMPTY = 1e-6


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation, smallest and largest value per channel over a whole volume, in its own units.

    For the normalisation "sections" mean and standard deviation are those of every plane across z, `(z, 1, 1, channels)`.
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
        InputError: NaN or infinite voxels, or, except for "none", a channel that is constant.
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
    if how != "none" and constant.any():
        raise InputError(
            f"{volume.name}: expected an image, found the constant value {float(mean[constant][0]):g} in "
            "every voxel of a channel; check the file, or leave it out."
        )
    if how == "sections":
        mean, std = _of_planes(volume, mean, std)
    return Statistics(mean, std, sums.low, sums.high)


def _of_planes(volume: Volume, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of every plane across z, `(z, 1, 1, channels)`; `mean` and `std` are the volume's."""
    total, squares = np.zeros((2, volume.shape[0], volume.channels))
    for box, block in volume.blocks():
        voxels = block - mean
        total[box[0]] += voxels.sum(axis=(1, 2))
        squares[box[0]] += np.square(voxels).sum(axis=(1, 2))
    count = volume.shape[1] * volume.shape[2]
    off = total / count
    deviation = np.sqrt(np.maximum(squares / count - off**2, 0.0))
    # An empty section has nothing to be scaled by: it becomes 0 throughout.
    deviation = np.where(deviation < _EMPTY * std, std, deviation)
    return (mean + off)[:, None, None], deviation[:, None, None]


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
