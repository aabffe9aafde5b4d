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


def measure(volume: Volume, how: str = "zscore") -> Statistics:
    """Return the statistics of `volume` that the normalisation `how` needs, read in blocks.

    Raises:
        InputError: NaN or infinite voxels, or, for "zscore", a channel that is constant.
    """
    count, total, squares, broken = 0, 0.0, 0.0, 0
    # Sums are taken of the differences to a first mean: the variance of large values would cancel.
    pivot = None
    low, high = np.inf, -np.inf
    for _, block in volume.blocks():
        voxels = block.reshape(-1, volume.channels).astype(np.float64)
        broken += int((~np.isfinite(voxels)).any(axis=-1).sum())
        if broken:
            continue
        pivot = voxels.mean(axis=0) if pivot is None else pivot
        low, high = np.minimum(low, voxels.min(axis=0)), np.maximum(high, voxels.max(axis=0))
        voxels -= pivot
        count += len(voxels)
        total = total + voxels.sum(axis=0)
        # What is too large to be squared is refused below, in words.
        with np.errstate(over="ignore"):
            squares = squares + np.square(voxels).sum(axis=0)
    if broken:
        raise InputError(
            f"{volume.name}: expected finite grey values, found NaN or infinity in {broken} voxels; "
            "replace them, or leave the file out."
        )
    mean = total / count
    with np.errstate(over="ignore", invalid="ignore"):
        std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    constant = std <= 1e-12 * np.maximum(np.abs(mean + pivot), 1e-30)
    if not np.isfinite(std).all():
        raise InputError(
            f"{volume.name}: expected grey values whose squares are finite, found values up to {np.max(high):.3g}; "
            "scale them down, or leave the file out."
        )
    if how == "zscore" and constant.any():
        raise InputError(
            f"{volume.name}: expected an image, found the constant value {float((mean + pivot)[constant][0]):g} in "
            "every voxel of a channel; check the file, or leave it out."
        )
    return Statistics((mean + pivot).astype(np.float64), std, low, high)


def _zscore(voxels: np.ndarray, statistics: Statistics) -> np.ndarray:
    # Half the memory and time of double precision, where the voxels have no more digits themselves.
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
