"""Cells cut apart along predicted boundaries."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError, refuse
from keras_unet3d.segments.cleaning import refuse_other_axes


def instances(
    boundary: np.ndarray,
    threshold: float = 0.5,
    spacing: Sequence[float] | np.ndarray | None = None,
    least: int = 100,
    smoothing: float = 2.0,
) -> np.ndarray:
    """Return instances 1, 2, ... `(z, y, x)` that cover the volume, in the smallest unsigned type.

    Args:
        boundary: probabilities of being a boundary, `(z, y, x)`, 0 to 1.
        threshold: from which on a voxel is a boundary when seeds are sought.
        spacing: voxel size (z, y, x), any unit; None for cubic voxels.
        least: voxels of an instance; smaller ones are given to their neighbours.
        smoothing: standard deviation in voxels of the finest axis by which distances are smoothed before seeds are sought.

    Raises:
        InputError: another number of axes, probabilities outside 0 to 1, a threshold that is not between 0 and 1,
            `least` below 1, `smoothing` below 0, a spacing that is not three positive numbers, or no scikit-image.

    Source: the distance-transform watershed of Wolny et al. 2020 (doi:10.7554/eLife.57613), with scikit-image.
    """
    segmentation = scikit_image("segmentation")
    refuse_other_axes(boundary, "instances")
    voxel = np.ones(3) if spacing is None else np.asarray(spacing, float)
    if voxel.shape != (3,) or not (np.isfinite(voxel) & (voxel > 0)).all():
        raise InputError(f"instances: expected a spacing of three numbers above 0, found {spacing}.")
    refuse(_option_faults(threshold, least, smoothing))
    if not boundary.size:
        return np.zeros(boundary.shape, np.uint8)
    if not (boundary.min() >= 0 and boundary.max() <= 1):
        raise InputError(
            f"instances: expected probabilities from 0 to 1, found {boundary.min():.3g} to {boundary.max():.3g}."
        )
    voxel = voxel / voxel.min()
    smooth, seeds = _seeds(boundary < threshold, smoothing / voxel, voxel)
    if not seeds.any():
        return np.ones(boundary.shape, np.uint8)
    cells = segmentation.watershed(boundary - 0.01 * smooth / max(float(smooth.max()), 1e-6), seeds)
    sizes = np.bincount(cells.ravel())
    small = np.flatnonzero(sizes < least)
    if 0 < np.isin(np.unique(cells), small).sum() < len(np.unique(cells)):
        cells[np.isin(cells, small)] = 0
        cells = segmentation.watershed(boundary, cells)
    numbers = np.cumsum(np.bincount(cells.ravel()) > 0)
    # Numbers begin at 1; 0 does not occur.
    kind = np.min_scalar_type(int(numbers[-1]))
    return numbers[cells].astype(kind)


def _option_faults(threshold: float, least: int, smoothing: float) -> Iterator[str]:
    if least < 1:
        yield f"instances: expected least to be a number of voxels of at least 1, found {least}."
    if not smoothing >= 0:
        yield f"instances: expected a smoothing of 0 or more, found {smoothing}."
    if not 0 < threshold < 1:
        yield f"instances: expected a threshold between 0 and 1, found {threshold}."


def _seeds(inside: np.ndarray, sigma: np.ndarray, voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed distance from the boundaries, and a number for each of its peaks, 0 elsewhere.

    Args:
        inside: what is no boundary, `(z, y, x)`.
        sigma: by how many voxels of an axis distances are smoothed.
        voxel: edges of a voxel, the finest being 1.
    """
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(inside, sampling=voxel).astype(np.float32)
    smooth = ndimage.gaussian_filter(distance, sigma)
    peaks = (smooth == ndimage.maximum_filter(smooth, size=_odd(2 * sigma))) & (distance > 0)
    seeds, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    return smooth, seeds


def scikit_image(part: str) -> Any:
    """Return a module of scikit-image; raises `InputError` where that is not installed."""
    try:
        return importlib.import_module(f"skimage.{part}")
    except ImportError as error:
        raise InputError(
            "instances: expected the package scikit-image, found none; run pip install 'keras-unet3d[instances]'."
        ) from error


def _odd(sizes: np.ndarray) -> tuple[int, ...]:
    return tuple(2 * int(np.ceil(size / 2)) + 1 for size in sizes)
