"""What people do to a label volume after the network: arrays in, arrays out. Voxels are connected by their faces."""

import importlib
from collections.abc import Callable, Iterable

import numpy as np

from keras_unet3d.errors import InputError


def keep_largest(labels: np.ndarray, background: int = 0) -> np.ndarray:
    """Return `labels` `(z, y, x)` with only the largest connected piece of every class; the others become background.

    Of pieces of equal size the first stays.
    """
    return _without_pieces(labels, background, lambda sizes: np.arange(len(sizes)) != sizes.argmax())


def remove_small(labels: np.ndarray, least: int, background: int = 0) -> np.ndarray:
    """Return `labels` `(z, y, x)` where connected pieces of a class of fewer than `least` voxels are background.

    Raises:
        InputError: `least` below 1.
    """
    if least < 1:
        raise InputError(f"remove_small: expected a number of voxels of at least 1, found {least}.")
    return _without_pieces(labels, background, lambda sizes: sizes < least)


def fill_holes(labels: np.ndarray, background: int = 0) -> np.ndarray:
    """Return `labels` `(z, y, x)` where background that touches no side of the volume is the class around it.

    Where several classes surround it, that of most of the faces.
    """
    from scipy import ndimage

    _refuse_other_axes(labels, "labels")
    if not labels.size:
        return labels.copy()
    pieces, count = ndimage.label(labels == background)
    is_hole = np.ones(count + 1, bool)
    is_hole[0] = False
    for axis in range(3):
        for side in (0, -1):
            is_hole[np.unique(pieces.take(side, axis))] = False
    if not is_hole.any():
        return labels.copy()
    pieces[~is_hole[pieces]] = 0
    # Numbers of classes: raw values and pieces have no common integer type where those are uint64.
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    found = []
    for axis in range(3):
        ahead, behind = _neighbours(axis)
        for one, other in ((ahead, behind), (behind, ahead)):
            touching = (pieces[one] > 0) & (labels[other] != background)
            found.append(pieces[one][touching].astype(np.int64) * len(values) + numbers[other][touching])
    pairs, faces = np.unique(np.concatenate(found), return_counts=True)
    # Of every hole the class of most faces is assigned last.
    order = np.argsort(faces, kind="stable")
    fill = np.full(count + 1, background, labels.dtype)
    hole, number = np.divmod(pairs[order], len(values))
    fill[hole] = values[number]
    return np.where(pieces > 0, fill[pieces], labels)


def instances(
    boundary: np.ndarray,
    threshold: float = 0.5,
    spacing=None,
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
    from scipy import ndimage

    segmentation = _skimage("segmentation")
    _refuse_other_axes(boundary, "instances")
    voxel = np.ones(3) if spacing is None else np.asarray(spacing, float)
    if voxel.shape != (3,) or not (np.isfinite(voxel) & (voxel > 0)).all():
        raise InputError(f"instances: expected a spacing of three numbers above 0, found {spacing}.")
    if least < 1:
        raise InputError(f"instances: expected least to be a number of voxels of at least 1, found {least}.")
    if not smoothing >= 0:
        raise InputError(f"instances: expected a smoothing of 0 or more, found {smoothing}.")
    if not 0 < threshold < 1:
        raise InputError(f"instances: expected a threshold between 0 and 1, found {threshold}.")
    if not boundary.size:
        return np.zeros(boundary.shape, np.uint8)
    if not (boundary.min() >= 0 and boundary.max() <= 1):
        raise InputError(
            f"instances: expected probabilities from 0 to 1, found {boundary.min():.3g} to {boundary.max():.3g}."
        )
    voxel = voxel / voxel.min()
    distance = ndimage.distance_transform_edt(boundary < threshold, sampling=voxel).astype(np.float32)
    smooth = ndimage.gaussian_filter(distance, smoothing / voxel)
    peaks = (smooth == ndimage.maximum_filter(smooth, size=_odd(2 * smoothing / voxel))) & (distance > 0)
    seeds, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    if not seeds.any():
        return np.ones(boundary.shape, np.uint8)
    found = segmentation.watershed(boundary - 0.01 * smooth / max(float(smooth.max()), 1e-6), seeds)
    sizes = np.bincount(found.ravel())
    small = np.flatnonzero(sizes < least)
    if 0 < np.isin(np.unique(found), small).sum() < len(np.unique(found)):
        found[np.isin(found, small)] = 0
        found = segmentation.watershed(boundary, found)
    numbers = np.cumsum(np.bincount(found.ravel()) > 0)
    # Numbers begin at 1; 0 does not occur.
    kind = np.min_scalar_type(int(numbers[-1]))
    return numbers[found].astype(kind)


def adapted_rand_error(truth: np.ndarray, found: np.ndarray, unlabelled: Iterable[int] = ()) -> float | None:
    """Return the adapted Rand error of instances, 0 (equal) to 1; None where the truth has none.

    Args:
        truth: instances, 0 for what is none of them, integers of any shape.
        found: instances, integers of the same shape.
        unlabelled: further values of the truth that count nowhere.

    Raises:
        InputError: no scikit-image.

    Source: Arganda-Carreras et al. 2015 (doi:10.3389/fnana.2015.00142), with scikit-image.
    """
    ignored = (0, *unlabelled)
    if np.isin(truth, ignored).all():
        return None
    metrics = _skimage("metrics")
    # scikit-image wants a signed type for what it makes of them.
    return float(metrics.adapted_rand_error(truth.astype(np.int64), found.astype(np.int64), ignore_labels=ignored)[0])


def _skimage(part: str):
    try:
        return importlib.import_module(f"skimage.{part}")
    except ImportError as error:
        raise InputError(
            "instances: expected the package scikit-image, found none; run pip install 'keras-unet3d[instances]'."
        ) from error


def _odd(sizes: np.ndarray) -> tuple[int, ...]:
    return tuple(2 * int(np.ceil(size / 2)) + 1 for size in sizes)


def _without_pieces(labels: np.ndarray, background: int, unwanted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the labels without the pieces that `unwanted` says of their sizes, class by class."""
    from scipy import ndimage

    _refuse_other_axes(labels, "labels")
    if not labels.size:
        return labels.copy()
    values, numbers = np.unique(labels, return_inverse=True)
    result = labels.copy()
    # All boxes in one pass: instances are thousands of classes.
    boxes = ndimage.find_objects(numbers.reshape(labels.shape) + 1)
    for value, box in zip(values, boxes, strict=True):
        if value == background:
            continue
        pieces, _ = ndimage.label(labels[box] == value)
        # The first is what belongs to none.
        gone = np.append(False, unwanted(np.bincount(pieces.ravel())[1:]))
        result[box][gone[pieces]] = background
    return result


def _neighbours(axis: int) -> tuple[tuple, tuple]:
    """Return the indices of all voxels but the last and but the first along an axis."""
    everything = [slice(None)] * 3
    ahead, behind = list(everything), list(everything)
    ahead[axis], behind[axis] = slice(None, -1), slice(1, None)
    return tuple(ahead), tuple(behind)


def _refuse_other_axes(array: np.ndarray, what: str) -> None:
    if array.ndim != 3:
        raise InputError(f"{what}: expected an array (z, y, x), found shape {array.shape}.")
