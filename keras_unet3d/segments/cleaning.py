"""What people do to a label volume after the prediction: arrays in, arrays out. Voxels are connected by their faces."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import beside_faces


@dataclass(frozen=True, kw_only=True)
class ClassCleaning(Validated):
    """What is done to the connected pieces of one class.

    Attributes:
        value: the class, as labels write it.
        keep_largest: whether only its largest piece stays.
        remove_small: pieces of fewer voxels go.
        fill_holes: whether background that it encloses becomes it.
    """

    WHAT = "the cleaning of a class"

    value: int
    keep_largest: bool = False
    remove_small: int = checked(0, least=0)
    fill_holes: bool = False

    def in_words(self) -> str:
        """Return "keep the largest piece, fill holes"."""
        steps = {
            "keep the largest piece": self.keep_largest,
            f"remove pieces below {self.remove_small} voxels": self.remove_small > 0,
            "fill holes": self.fill_holes,
        }
        return ", ".join(words for words, done in steps.items() if done) or "nothing"


def clean(labels: np.ndarray, steps: Iterable[ClassCleaning], background: int = 0) -> np.ndarray:
    """Return `labels` `(z, y, x)` with every class cleaned in its own way; other classes stay as they are."""
    for step in steps:
        if step.keep_largest:
            labels = keep_largest(labels, background, only=(step.value,))
        if step.remove_small:
            labels = remove_small(labels, step.remove_small, background, only=(step.value,))
        if step.fill_holes:
            labels = fill_holes(labels, background, only=(step.value,))
    return labels


def keep_largest(labels: np.ndarray, background: int = 0, only: Collection[int] | None = None) -> np.ndarray:
    """Return `labels` `(z, y, x)` with only the largest connected piece of every class; the others become background.

    Of pieces of equal size the first stays. `only` names the classes whose pieces may go; None for all.
    """
    return _without_pieces(labels, background, only, lambda sizes: np.arange(len(sizes)) != sizes.argmax())


def remove_small(
    labels: np.ndarray, least: int, background: int = 0, only: Collection[int] | None = None
) -> np.ndarray:
    """Return `labels` `(z, y, x)` where connected pieces of a class of fewer than `least` voxels are background.

    `only` names the classes whose pieces may go; None for all.

    Raises:
        InputError: `least` below 1.
    """
    if least < 1:
        raise InputError(f"remove_small: expected a number of voxels of at least 1, found {least}.")
    return _without_pieces(labels, background, only, lambda sizes: sizes < least)


def fill_holes(labels: np.ndarray, background: int = 0, only: Collection[int] | None = None) -> np.ndarray:
    """Return `labels` `(z, y, x)` where background that touches no side of the volume is the class around it.

    Where several classes surround it, that of most of the faces. `only` names the classes that may fill it; None for all.
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
    contacts = []
    for axis in range(3):
        before, behind = beside_faces(axis)
        for hole_side, class_side in ((before, behind), (behind, before)):
            touching = (pieces[hole_side] > 0) & (labels[class_side] != background)
            holes, classes = pieces[hole_side][touching], numbers[class_side][touching]
            contacts.append(holes.astype(np.int64) * len(values) + classes)
    pairs, faces = np.unique(np.concatenate(contacts), return_counts=True)
    # The class of most faces comes last, and so is the one that a hole keeps.
    order = np.argsort(faces, kind="stable")
    fill = np.full(count + 1, background, labels.dtype)
    hole, number = np.divmod(pairs[order], len(values))
    fill[hole] = values[number]
    if only is not None:
        fill[~np.isin(fill, [*only])] = background
    return np.where(pieces > 0, fill[pieces], labels)


def _without_pieces(
    labels: np.ndarray,
    background: int,
    only: Collection[int] | None,
    unwanted: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the labels with pieces of a class turned to background: those that `unwanted` picks by their sizes."""
    from scipy import ndimage

    refuse_other_axes(labels, "labels")
    if not labels.size:
        return labels.copy()
    values, numbers = np.unique(labels, return_inverse=True)
    result = labels.copy()
    # All boxes in one pass: instances are thousands of classes.
    boxes = ndimage.find_objects(numbers.reshape(labels.shape) + 1)
    for value, box in zip(values, boxes, strict=True):
        if value == background or (only is not None and value not in only):
            continue
        pieces, _ = ndimage.label(labels[box] == value)
        # The first number stands for the voxels that belong to no piece.
        gone = np.append(False, unwanted(np.bincount(pieces.ravel())[1:]))
        result[box][gone[pieces]] = background
    return result


def refuse_other_axes(array: np.ndarray, name: str) -> None:
    """Raise `InputError` unless the array is `(z, y, x)`; `name` is what the message calls it."""
    if array.ndim != 3:
        raise InputError(f"{name}: expected an array (z, y, x), found shape {array.shape}.")
