"""What people do to a label volume after the prediction: arrays in, arrays out. Voxels are connected by their faces."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.segments.regions import Regions, Slab, regions_of, slab_boxes

# Regions, and the background -> what is left of them.
Step = Callable[[Regions, int], Regions]


@dataclass(frozen=True, kw_only=True)
class Cleaning(Validated):
    """What is done to the connected pieces of every class, in this order.

    Attributes:
        keep_largest: whether only its largest piece stays.
        remove_small: pieces of fewer voxels go.
        fill_holes: whether background that it encloses becomes it.
    """

    WHAT = "the cleaning of classes"

    keep_largest: bool = False
    remove_small: int = checked(0, least=0)
    fill_holes: bool = False

    @property
    def only(self) -> Collection[int] | None:
        """The classes that are cleaned, None for all."""
        return None

    def steps(self) -> Iterator[Step]:
        """Yield what is to be done to regions."""
        if self.keep_largest:
            yield functools.partial(_keep_largest, only=self.only)
        if self.remove_small:
            yield functools.partial(_remove_small, least=self.remove_small, only=self.only)
        if self.fill_holes:
            yield functools.partial(_fill_holes, only=self.only)


@dataclass(frozen=True, kw_only=True)
class ClassCleaning(Cleaning):
    """What is done to the connected pieces of one class.

    Attributes:
        value: the class, as labels write it.
    """

    WHAT = "the cleaning of a class"

    value: int

    @property
    def only(self) -> Collection[int]:
        """The class that is cleaned."""
        return (self.value,)

    def in_words(self) -> str:
        """Return "keep the largest piece, fill holes"."""
        steps = {
            "keep the largest piece": self.keep_largest,
            f"remove pieces below {self.remove_small} voxels": self.remove_small > 0,
            "fill holes": self.fill_holes,
        }
        return ", ".join(words for words, done in steps.items() if done) or "nothing"


def clean(labels: np.ndarray, cleanings: Iterable[Cleaning], background: int = 0) -> np.ndarray:
    """Return `labels` `(z, y, x)` cleaned in these ways, one after the other; other classes stay as they are."""
    steps = [step for cleaning in cleanings for step in cleaning.steps()]
    return _stepped(labels, steps, background) if steps else labels


def cleaned(
    shape: Triple, read: Callable[[Box], np.ndarray], cleanings: Iterable[Cleaning], background: int = 0
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield boxes of a label volume of any size cleaned in these ways; what has been yielded is not read again."""
    return _boxes(shape, read, [step for cleaning in cleanings for step in cleaning.steps()], background)


def keep_largest(labels: np.ndarray, background: int = 0, only: Collection[int] | None = None) -> np.ndarray:
    """Return `labels` `(z, y, x)` with only the largest connected piece of every class; the others become background.

    Of pieces of equal size the first stays. `only` names the classes whose pieces may go; None for all.
    """
    return _stepped(labels, [functools.partial(_keep_largest, only=only)], background)


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
    return _stepped(labels, [functools.partial(_remove_small, least=least, only=only)], background)


def fill_holes(labels: np.ndarray, background: int = 0, only: Collection[int] | None = None) -> np.ndarray:
    """Return `labels` `(z, y, x)` where background that touches no side of the volume is the class around it.

    Where several classes surround it, that of most of the faces. `only` names the classes that may fill it; None for all.
    """
    return _stepped(labels, [functools.partial(_fill_holes, only=only)], background)


def refuse_other_axes(array: np.ndarray, name: str) -> None:
    """Raise `InputError` unless the array is `(z, y, x)`; `name` is what the message calls it."""
    if array.ndim != 3:
        raise InputError(f"{name}: expected an array (z, y, x), found shape {array.shape}.")


def _stepped(labels: np.ndarray, steps: list[Step], background: int) -> np.ndarray:
    refuse_other_axes(labels, "labels")
    result = np.empty_like(labels)
    if labels.size:
        for box, values in _boxes(triple(labels.shape), labels.__getitem__, steps, background):
            result[box] = values
    return result


def _boxes(
    shape: Triple, read: Callable[[Box], np.ndarray], steps: list[Step], background: int
) -> Iterator[tuple[Box, np.ndarray]]:
    boxes = [*slab_boxes(shape)]

    # Every slab is needed twice, and of a small volume there is one.
    @functools.lru_cache(maxsize=1)
    def slab(number: int) -> Slab:
        return Slab.of(read(boxes[number]))

    regions = regions_of(map(slab, range(len(boxes))), len(boxes))
    for step in steps:
        regions = step(regions, background)
    labels, first = regions.labels[regions.of_part], 0
    for number, box in enumerate(boxes):
        parts = slab(number)
        yield box, labels[first : first + len(parts.labels)][parts.numbers]
        first += len(parts.labels)


# ---- what is done to regions ---------------------------------------------------------------------


def _keep_largest(regions: Regions, background: int, only: Collection[int] | None) -> Regions:
    # The largest of a class comes first, of equal ones the first.
    order = np.lexsort((-regions.voxels, regions.labels))
    _, first = np.unique(regions.labels[order], return_index=True)
    unwanted = np.ones(len(order), bool)
    unwanted[order[first]] = False
    return _without(regions, unwanted, background, only)


def _remove_small(regions: Regions, background: int, only: Collection[int] | None, least: int) -> Regions:
    return _without(regions, regions.voxels < least, background, only)


def _without(regions: Regions, unwanted: np.ndarray, background: int, only: Collection[int] | None) -> Regions:
    labels = regions.labels.copy()
    labels[unwanted & _among(labels, only)] = background
    return regions.relabelled(labels)


def _fill_holes(regions: Regions, background: int, only: Collection[int] | None) -> Regions:
    classes, number = np.unique(regions.labels, return_inverse=True)
    is_hole = (regions.labels == background) & ~regions.is_open
    low, high, faces = regions.faces.row, regions.faces.col, regions.faces.data
    hole, around = np.concatenate([low, high]).astype(np.int64), np.concatenate([high, low])
    beside = is_hole[hole]
    codes, which = np.unique(hole[beside] * len(classes) + number[around[beside]], return_inverse=True)
    total = np.bincount(which, np.concatenate([faces, faces])[beside], len(codes))
    # The class of most faces comes last, and so is the one that a hole keeps.
    hole, of_class = np.divmod(codes[np.argsort(total, kind="stable")], len(classes))
    filled = regions.labels.copy()
    filled[hole] = classes[of_class]
    return regions.relabelled(np.where(_among(filled, only), filled, regions.labels))


def _among(labels: np.ndarray, only: Collection[int] | None) -> np.ndarray:
    """Return which labels are of the classes that may be touched."""
    if only is None:
        return np.ones(len(labels), bool)
    classes, number = np.unique(labels, return_inverse=True)
    return np.array([value in only for value in classes.tolist()], bool)[number]
