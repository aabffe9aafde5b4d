"""What people do to a label volume after the network: arrays in, arrays out. Voxels are connected by their faces."""

from collections.abc import Callable

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

    refuse_other_axes(labels, "labels")
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


def _without_pieces(labels: np.ndarray, background: int, unwanted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the labels without the pieces that `unwanted` says of their sizes, class by class."""
    from scipy import ndimage

    refuse_other_axes(labels, "labels")
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


def refuse_other_axes(array: np.ndarray, what: str) -> None:
    if array.ndim != 3:
        raise InputError(f"{what}: expected an array (z, y, x), found shape {array.shape}.")
