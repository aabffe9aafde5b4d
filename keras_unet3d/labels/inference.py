"""From the values that label volumes hold to one label table, and what is wrong with them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_unet3d.errors import refuse
from keras_unet3d.labels.survey import Survey
from keras_unet3d.labels.table import INSTANCE_TABLES, MOST_CLASSES, LabelTable, unknown_values
from keras_unet3d.words import some

# The largest values of uint8 and uint16, which painting tools use for "nothing here".
_SENTINELS = (255, 65535)
# What a user of fit can do about a value that is not in the table.
_MEND = (
    "correct the labels, declare the value (`classes=VALUE=NAME,...`), or add `unlabelled=VALUE` if it means unlabelled"
)
_MEND_REGIONS = "correct the labels, name the value in `regions`, or add `unlabelled=VALUE` if it means unlabelled"
_MEND_INSTANCES = "correct the labels, or add `unlabelled=VALUE` if it means unlabelled"
_MEND_NUMBERED = "if these are numbers of objects, train with `target=cells`, or give labels of those classes"
# A plane counts as annotated from corner to corner if this share of it is; a few missed voxels do not matter.
_FULL = 0.99
# A class of a larger share may be one that nobody meant.
_NEARLY_ALL = 0.9
# More values that nobody named than these may be instances.
_FEW = 12
# With a smaller share of a background instances touch everywhere, but for what somebody missed.
_BACKGROUND = 0.02
# A background has so many times the voxels of the largest instance.
_LARGER = 2


def infer_table(
    counts: Mapping[str, Mapping[int, int]],
    num_classes: int | None = None,
    unlabelled: Iterable[int] = (),
    target: str = "semantic",
    declared: Mapping[int, str] | None = None,
    background: int = 0,
) -> LabelTable:
    """Return the table for volumes with the given value counts, by volume name.

    Args:
        counts: voxels per raw value, per volume.
        num_classes: classes are 0 to `num_classes - 1`; `None` takes the values found, in order.
        unlabelled: raw values that mean "nobody said".
        target: one of `TARGETS`.
        declared: names of raw values; no other value is a class then.
        background: raw value of what is no cell, with the target "cells".

    Raises:
        InputError: the first of `table_faults`.
    """
    table = propose_table(counts, num_classes, unlabelled, target, declared, background)
    refuse(table_faults(table, counts))
    return table


def propose_table(
    counts: Mapping[str, Mapping[int, int]],
    num_classes: int | None = None,
    unlabelled: Iterable[int] = (),
    target: str = "semantic",
    declared: Mapping[int, str] | None = None,
    background: int = 0,
) -> LabelTable:
    """Return the table that `infer_table` returns, whatever is wrong with it."""
    unlabelled, names = tuple(unlabelled), dict(declared or {})
    if target in INSTANCE_TABLES:
        return replace(INSTANCE_TABLES[target], unlabelled=unlabelled, background_value=background)
    present = {value for of_volume in counts.values() for value in of_volume}
    candidates = range(num_classes) if num_classes is not None else names or sorted(v for v in present if v >= 0)
    values = tuple(value for value in candidates if value not in unlabelled)
    return LabelTable(values, tuple(names.get(value, str(value)) for value in values), unlabelled)


def table_faults(table: LabelTable, counts: Mapping[str, Mapping[int, int]]) -> Iterator[str]:
    """Yield a sentence on everything that is wrong with the table, or with the values of a volume by it."""
    for volume, of_volume in counts.items():
        yield from value_faults(volume, of_volume, table)
    first = next(iter(counts))
    if table.of_instances:
        yield from _instance_faults(table, counts)
    if table.overlapping:
        yield from _region_faults(table, counts)
        return
    if table.num_classes == 1:
        yield (
            f"{first}: expected at least two classes, found only the label {table.shown()} in all volumes; "
            "annotate a second class (the background counts), or declare it by `classes`."
        )
    if table.num_classes > MOST_CLASSES:
        # Where no volume alone holds too many, all of them do.
        held = {volume: len(set(of_volume) & set(table.values)) for volume, of_volume in counts.items()}
        many = {volume: found for volume, found in held.items() if found > MOST_CLASSES}
        for volume, found in (many or {f"{first} and the others": table.num_classes}).items():
            yield (
                f"{volume}: expected at most {MOST_CLASSES} classes, found {found} label values; are "
                f"these instances? Then add `target={fitting_target(counts.values(), table.unlabelled)}`."
            )


def _region_faults(table: LabelTable, counts: Mapping[str, Mapping[int, int]]) -> Iterator[str]:
    """Yield a sentence on regions that are made of values which no volume holds."""
    held = {value for of_volume in counts.values() for value in of_volume}
    for name, region in zip(table.names, table.regions, strict=True):
        missing = [value for value in region if value not in held]
        if missing and not table.by_channel:
            yield (
                f"regions: expected label values that the volumes hold, {some(sorted(held))}; found {some(missing)} in "
                f"{name!r}; correct it."
            )
        if not held & {*region}:
            yield f"regions: expected voxels of {name!r} in some volume, found none; leave it out."


def _instance_faults(table: LabelTable, counts: Mapping[str, Mapping[int, int]]) -> Iterator[str]:
    """Yield a sentence where there are too few instances to learn anything from."""
    others = {*table.unlabelled, table.background_value} if table.target == "cells" else {*table.unlabelled}
    instances = {value for of_volume in counts.values() for value in of_volume} - others
    first, held = next(iter(counts)), some([str(value) for value in sorted(instances)]) or "none"
    if table.target == "cells" and not instances:
        yield (
            f"{first}: expected labels of cells beside the background {table.background_value}, found none in any volume; "
            "label a cell, or say by `background` which value is the background."
        )
    if table.target == "boundaries" and len(instances) == 1:
        yield (
            f"{first}: expected at least two instances, between which there is a boundary, found only {held}; label another "
            "one."
        )


def with_groups(table: LabelTable, annotated: Iterable[Sequence[int] | None]) -> LabelTable:
    """Return the table with a label for every group of classes that the background of a partly labelled volume may be."""
    groups = [table.partly(values) for values in annotated]
    return replace(table, partial=tuple(dict.fromkeys(group for group in groups if group)))


def not_annotated(
    volume: str, counts: Mapping[int, int], table: LabelTable, annotated: Sequence[int] | None
) -> Iterator[str]:
    """Yield a sentence where a volume holds classes that are said not to be annotated in it, or what is said is no class."""
    if annotated is None:
        return
    unknown = [value for value in annotated if value not in table.values]
    if unknown:
        yield f"annotated: expected the labels {table.shown()}, found {some(unknown)} for {volume}; correct it."
    others = [table.values[number] for number in table.partly(annotated) if number != table.background]
    wrong = [value for value in others if counts.get(value)]
    if wrong:
        yield unknown_values(
            volume,
            wrong,
            [counts[value] for value in wrong],
            f"no labels but {', '.join(map(str, annotated))}, those that `annotated` says were looked for",
            "add VALUE there, or correct the labels",
        )


def fitting_target(counts: Iterable[Mapping[int, int]], unlabelled: Collection[int] = ()) -> str:
    """Return the target that instance labels with these voxels per value fit: "cells" where most are of a background 0."""
    for held in counts:
        labelled = {value: count for value, count in held.items() if value not in unlabelled}
        background = labelled.pop(0, 0)
        if background > _LARGER * max(labelled.values(), default=0):
            return "cells"
    return "boundaries"


def value_faults(volume: str, counts: Mapping[int, int], table: LabelTable) -> Iterator[str]:
    """Yield a sentence on everything that is wrong with the values of one volume.

    Args:
        volume: its name.
        counts: voxels per raw value.
        table: what the values mean.
    """
    if set(counts) <= set(table.unlabelled):
        yield (
            f"{volume}: expected some labelled voxels, found nothing labelled: every voxel is "
            f"{' or '.join(map(str, counts))}, which means unlabelled here; annotate a slice, or leave the file out."
        )
    yield from unknown_in(volume, counts, table)


def unknown_in(volume: str, counts: Mapping[int, int], table: LabelTable, mend: str = "") -> Iterator[str]:
    """Yield a sentence on the values of one volume that are not in the table, if it has any.

    `mend` says what to do, by default with the options of fit; "VALUE" in it stands for the first of the values. The
    rest is as in `value_faults`.
    """
    instances = table.of_instances
    known = {*table.raw_values, *table.unlabelled, *((table.background_value,) if table.target == "cells" else ())}
    wrong = [value for value in counts if value not in known and not (instances and value >= 0)]
    if wrong:
        expected = "labels of 0 or more" if instances or not table.raw_values else f"the labels {table.shown()}"
        of_classes = _MEND_NUMBERED if len(wrong) > _FEW else _MEND_REGIONS if table.overlapping else _MEND
        usual = _MEND_INSTANCES if instances else of_classes
        yield unknown_values(
            volume,
            wrong,
            [counts[value] for value in wrong],
            expected,
            mend or usual,
        )


# ---- which value means "unlabelled" ------------------------------------------------------------


def infer_unlabelled(surveys: Sequence[Survey]) -> tuple[tuple[int, ...], str]:
    """Return the raw values that obviously mean "unlabelled", and why; no values where it is not obvious.

    It is obvious for a single negative value, also among instances; for 255 or 65535 beside two or more small values, or beside none; and for
    a value that every voxel has but those of whole slices, which are annotated from corner to corner.
    """
    values = sorted({value for survey in surveys for value in survey.counts})
    negative = [value for value in values if value < 0]
    if len(values) == 1 and (negative or values[0] in _SENTINELS):
        return tuple(values), "the only value"
    if len(values) < 3 or len(negative) > 1:
        return (), ""
    if negative:
        return tuple(negative), "the only negative value"
    if len(values) > MOST_CLASSES + 1:
        return (), ""
    if values[-1] in _SENTINELS and values[-2] < MOST_CLASSES:
        return (values[-1],), f"far above the other values, {some(values[:-1])}"
    total = _total(surveys, values)
    commonest = max(total, key=total.__getitem__)
    if all(_is_around_whole_slices(survey, commonest) for survey in surveys if commonest in survey.counts):
        return (commonest,), "all that is not in slices labelled from corner to corner"
    return (), ""


def _total(surveys: Sequence[Survey], values: Iterable[int]) -> dict[int, int]:
    """Return how many voxels of all volumes hold each of the values."""
    return {value: sum(survey.counts.get(value, 0) for survey in surveys) for value in values}


def _is_around_whole_slices(survey: Survey, value: int) -> bool:
    """Whether the voxels without `value` are exactly those of whole planes, of which one has two values at least."""
    size = int(np.prod(survey.shape))
    labelled = size - survey.counts[value]
    if not survey.planes or labelled * 2 > size:
        return False
    # Per axis, the planes that are (nearly) without the value.
    full = [np.flatnonzero(held <= (1 - _FULL) * size / len(held)) for held in survey.planes[value]]
    outside = np.prod([size - len(planes) for size, planes in zip(survey.shape, full, strict=True)])
    # A class that fills planes of its own, such as a layer of tissue, is no annotation.
    mixed = any(
        sum(held[axis][plane] > 0 for other, held in survey.planes.items() if other != value) > 1
        for axis, planes in enumerate(full)
        for plane in planes
    )
    return bool(mixed and abs((size - outside) - labelled) <= (1 - _FULL) * labelled)


def doubtful_values(surveys: Sequence[Survey], table: LabelTable) -> Iterator[str]:
    """Yield a sentence on values that may mean something else: unlabelled, or instances of one kind or the other."""
    fitting = fitting_target([held.counts for held in surveys], table.unlabelled)
    if table.target == "boundaries" and fitting == "cells":
        yield "the label 0 is taken as an instance; if it is the background of the others, add `target=cells`"
    if table.target == "cells":
        voxels = _total(surveys, {value for held in surveys for value in held.counts} - {*table.unlabelled})
        if voxels.get(table.background_value, 0) < _BACKGROUND * sum(voxels.values()):
            yield (
                f"hardly a voxel is the background {table.background_value}; if instances touch everywhere, add "
                "`target=boundaries`"
            )
    if table.of_instances or table.num_classes > MOST_CLASSES:
        return
    labelled = _total(surveys, table.values)
    for value in _SENTINELS:
        if labelled.get(value) and len(labelled) > 1:
            yield f"the label {value} is taken as a class; if it means unlabelled, add `unlabelled={value}`"
    value = max(labelled, key=labelled.__getitem__, default=0)
    share = labelled.get(value, 0) / max(sum(labelled.values()), 1)
    if len(labelled) > 2 and share > _NEARLY_ALL and value not in _SENTINELS:
        yield f"{share:.1%} of the labelled voxels are {value}; if that means unlabelled, add `unlabelled={value}`"
    if len(labelled) > _FEW:
        yield f"{len(labelled)} label values are taken as classes; if they are instances, add `target={fitting}`"
