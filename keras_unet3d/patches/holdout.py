"""What is held out for validation: whole volumes, whole annotated slices, or the end of a volume."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Triple
from keras_unet3d.labels import UNLABELLED, AnnotatedSlices, annotated_slices, per_plane
from keras_unet3d.patches.source import LabelIndex, Source, index_of_part
from keras_unet3d.volumes import Volume, in_threads
from keras_unet3d.words import plural

# Voxels on either side of what is held out that training does not see either, because neighbours are nearly copies.
GUARD = 2
# What is held out where nobody says how much: training has a use for every volume.
SHARE, _MOST_VOLUMES = 0.2, 20
# Choices of slices that are tried for one that leaves training every class; after that two classes on both sides are enough.
_ATTEMPTS = 20


@dataclass(frozen=True)
class Holdout:
    """The sources of training patches and of validation patches.

    Attributes:
        training, validation: the sources.
        in_words: how they were told apart.
        whole_volumes: whether whole volumes were held out.
    """

    training: list[Source]
    validation: list[Source]
    in_words: str
    whole_volumes: bool


def hold_out(
    training: list[Source], given: list[Source], share: float | None, seed: int, fold: tuple[int, int] | None = None
) -> Holdout:
    """Decide what is held out for validation.

    Args:
        training: the sources to learn from.
        given: sources that the user gave for validation; where there are any, nothing else is held out.
        share: how much is held out: of several volumes, or of the annotated slices of a single one; 0 for nothing, None
            for a fifth, but not more volumes than it takes to tell a good network from a bad one.
        seed: of the choice.
        fold: number and how many there are, like (2, 5): that fifth is held out in the place of a share. Folds are the
            same whatever the seed, so that networks of several seeds, or settings, are compared on the same ones.

    Raises:
        InputError: a single volume of too few annotations; fewer volumes, or annotated slices of one, than folds.
    """
    count = len(training)
    if fold and given:
        raise InputError(
            f"fold: expected without `val`, which is held out already, found {fold[0]}/{fold[1]}; leave one out."
        )
    if given:
        return Holdout(training, given, f"{plural(len(given), 'given volume')}", True)
    if fold:
        return _fold_held_out(training, *fold)
    if share == 0:
        return Holdout(training, training, "nothing held out: its figures are of the training labels", False)
    if count > 1:
        share = min(SHARE, _MOST_VOLUMES / count) if share is None else share
        kept, held_out = split_by_volume(count, share, seed)
        in_words = f"{len(held_out)} of {count} volumes"
        return Holdout([training[i] for i in kept], [training[i] for i in held_out], in_words, True)
    (source,) = training
    share = SHARE if share is None else share
    return _of_parts(source, split_one(source.classes, source.index, annotated_slices(source.classes), share, seed))


def _of_parts(source: Source, parts: "Parts") -> Holdout:
    first, last = (
        replace(source, classes=part.classes, index=part.index) for part in (parts.training, parts.validation)
    )
    return Holdout([first], [last], parts.in_words, False)


def _fold_held_out(sources: list[Source], number: int, of: int) -> Holdout:
    """Hold out one of several parts, which together are everything: volumes, or annotated slices of a single one."""
    if len(sources) == 1:
        (source,) = sources
        parts = folds_of_slices(source.classes, source.index, of)[number - 1]
        return _of_parts(source, replace(parts, in_words=f"fold {number} of {of}: {parts.in_words}"))
    held = folds_of_volumes(len(sources), of)[number - 1]
    training = [source for position, source in enumerate(sources) if position not in held]
    in_words = f"fold {number} of {of}: {len(held)} of {len(sources)} volumes"
    return Holdout(training, [sources[position] for position in held], in_words, True)


def folds_of_volumes(count: int, of: int) -> list[list[int]]:
    """Return the positions of the volumes that each fold holds out, every volume once.

    Raises:
        InputError: fewer volumes than folds.
    """
    if count < of:
        raise InputError(
            f"folds: expected at least {of} volumes for {of} folds, found {count}; take at most {count} folds, or add volumes."
        )
    order = np.random.default_rng(0).permutation(count)
    return [sorted(order[number::of].tolist()) for number in range(of)]


def folds_of_slices(classes: Volume, index: LabelIndex, of: int) -> list["Parts"]:
    """Return the parts of a single volume, fold by fold: every annotated slice is held out once.

    Slices closer than the guard go together. Every fold leaves two classes or more on either side.

    Raises:
        InputError: too few annotated slices, or labels that are no slices.
    """
    slices = annotated_slices(classes)
    groups = [] if slices.dense else _all_groups(slices)
    rng, count = np.random.default_rng(0), sum(len(group) for _, group in groups)
    for _ in range(_ATTEMPTS if len(groups) >= of else 0):
        order = rng.permutation(len(groups))
        folds = [_without_slices(classes, index, [groups[i] for i in order[number::of]], count) for number in range(of)]
        if all(min(parts.classes_left) >= 2 for parts in folds):
            return folds
    apart = "densely labelled ones" if slices.dense else f"{len(groups)} that lie apart"
    raise InputError(
        f"{classes.name}: expected {of} annotated slices or more of a single volume, of two classes each, for {of} folds, "
        f"found {apart}; add volumes, annotate more slices, or take fewer folds."
    )


def _all_groups(slices: AnnotatedSlices) -> list[tuple[int, tuple[int, ...]]]:
    """Return axis and planes of the annotated slices that go together."""
    return [(axis, group) for axis, planes in enumerate(slices.per_axis) for group in _groups(planes)]


@dataclass(frozen=True)
class Part:
    """A class volume with some of its labels only, and their index."""

    classes: Volume
    index: LabelIndex


@dataclass(frozen=True)
class Parts:
    """A class volume twice, with the training labels and with those held out, and a line on where the cut is."""

    training: Part
    validation: Part
    in_words: str

    @property
    def classes_left(self) -> tuple[int, int]:
        """How many classes training and validation have labels of."""
        return _classes_of(self.training.index), _classes_of(self.validation.index)


def _classes_of(index: LabelIndex) -> int:
    return int((index.per_class > 0).sum())


def split_by_volume(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the positions of training and validation volumes: `share` of them, at least one of each."""
    held_out = min(max(1, round(count * share)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def split_one(classes: Volume, index: LabelIndex, slices: AnnotatedSlices, share: float, seed: int) -> Parts:
    """Return the parts of a single volume: by whole annotated slices where there are some, else by region.

    Raises:
        InputError: too few annotations to be split.
    """
    by_slices = None if slices.dense else split_by_slices(classes, index, slices, share, seed)
    return by_slices or split_by_region(classes, index, share)


def split_by_slices(
    classes: Volume, index: LabelIndex, slices: AnnotatedSlices, share: float, seed: int
) -> Parts | None:
    """Hold out about `share` of the annotated slices, at least one; None where too few would be left.

    Slices closer than the guard go together. Training keeps every class where any choice allows it.
    """
    groups = _all_groups(slices)
    if len(groups) < 2:
        return None
    count = sum(len(group) for _, group in groups)
    # One group at least, though the smallest may be more than the share.
    most = max(share * count, min(len(group) for _, group in groups))
    rng, second_best = np.random.default_rng(seed), None
    for _ in range(_ATTEMPTS):
        held: list[tuple[int, tuple[int, ...]]] = []
        for number in rng.permutation(len(groups)):
            taken = sum(len(group) for _, group in held)
            if taken + len(groups[number][1]) <= most:
                held.append(groups[number])
        parts = _without_slices(classes, index, held, count)
        kept, tested = parts.classes_left
        if min(kept, tested) >= 2:
            if kept == _classes_of(index):
                return parts
            second_best = second_best or parts
    return second_best


def _groups(planes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the planes in order, those no further apart than the guard together."""
    groups: list[tuple[int, ...]] = []
    for plane in planes:
        if groups and plane - groups[-1][-1] <= GUARD:
            groups[-1] += (plane,)
        else:
            groups.append((plane,))
    return groups


def _without_slices(classes: Volume, index: LabelIndex, held: list[tuple[int, tuple[int, ...]]], count: int) -> Parts:
    marks = [np.zeros(size, bool) for size in classes.shape]
    guarded = [np.zeros(size, bool) for size in classes.shape]
    for axis, group in held:
        marks[axis][list(group)] = True
        guarded[axis][max(group[0] - GUARD, 0) : group[-1] + GUARD + 1] = True
    slices = ", ".join(f"{'zyx'[axis]} {plane}" for axis, group in sorted(held) for plane in group)
    in_words = (
        f"{sum(len(group) for _, group in held)} of {count} annotated slices ({slices}), kept from training with "
        f"{GUARD} voxels on either side"
    )
    return Parts(
        _labelled_where(classes, index, guarded, False), _labelled_where(classes, index, marks, True), in_words
    )


def split_by_region(classes: Volume, index: LabelIndex, share: float) -> Parts:
    """Hold out the last part of the longest axis: the cut lies where about `share` of the labels are behind it.

    Raises:
        InputError: no cut leaves labels of two classes on both sides.
    """
    for axis in map(int, np.argsort(classes.shape)[::-1]):
        planes = _classes_per_plane(classes, axis, index.counts.shape[1])
        labelled = planes.sum(axis=1)
        if not labelled.sum():
            break
        cut = int(np.searchsorted(np.cumsum(labelled), (1 - share) * labelled.sum()))
        first = max(cut - GUARD, 0)
        before, after = planes[:first].sum(axis=0), planes[cut:].sum(axis=0)
        if min((before > 0).sum(), (after > 0).sum()) >= 2:
            name = "zyx"[axis]
            in_words = f"{name} >= {cut} of {classes.shape[axis]} for validation, {name} < {first} for training"
            return Parts(
                _labelled_where(classes, index, _beyond(classes.shape, axis, first), False),
                _labelled_where(classes, index, _beyond(classes.shape, axis, cut), True),
                in_words,
            )
    raise InputError(
        f"{classes.name}: expected annotations that can be split into training and validation, found too few; "
        "annotate more slices, give another volume as `val`, or train on all of them with `validation_share=0`."
    )


def _beyond(shape: Triple, axis: int, first: int) -> list[np.ndarray]:
    return [(np.arange(size) >= first) & (other == axis) for other, size in enumerate(shape)]


def _classes_per_plane(classes: Volume, axis: int, num_classes: int) -> np.ndarray:
    """Return labelled voxels per plane across `axis` and class, `(planes, classes)`."""
    counts = np.zeros((classes.shape[axis], num_classes), int)
    of_box = partial(_classes_per_plane_of_box, classes, axis, num_classes)
    for planes, in_box in in_threads(of_box, classes.boxes()):
        counts[planes] += in_box
    return counts


def _classes_per_plane_of_box(classes: Volume, axis: int, num_classes: int, box: Box) -> tuple[slice, np.ndarray]:
    voxels = classes.read(box)[..., 0]
    return box[axis], np.stack([per_plane(voxels == number)[axis] for number in range(num_classes)], axis=1)


def _labelled_where(classes: Volume, index: LabelIndex, marks: Sequence[np.ndarray], marked: bool) -> Part:
    """Return the class volume with the labels of marked planes only, or of all others only.

    `marks` holds a flag per plane across z, y and x.
    """

    def read(box: Box) -> np.ndarray:
        if not touched(box):
            if marked:
                return np.full((*(part.stop - part.start for part in box), 1), UNLABELLED, np.uint8)
            return classes.read(box)
        z, y, x = (flags[part] for flags, part in zip(marks, box, strict=True))
        taken = ((z[:, None, None] | y[:, None] | x) != marked)[..., None]
        # All bits of UNLABELLED are set.
        return classes.read(box) | taken * np.uint8(UNLABELLED)

    def touched(box: Box) -> bool:
        return any(flags[part].any() for flags, part in zip(marks, box, strict=True))

    part = replace(classes, read=read)
    return Part(part, index_of_part(part, index, touched, rest=not marked))
