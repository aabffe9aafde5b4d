"""Raw label values to classes and back; which voxels are unlabelled.

Inside the package a label volume holds classes 0, 1, ... as uint8 and `UNLABELLED` where nobody said.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import Volume

UNLABELLED = 255
MOST_CLASSES = 64
TARGETS = ("semantic", "boundaries")


@dataclass(frozen=True)
class LabelTable:
    """The raw value and the name of every class, in the order of the classes.

    Attributes:
        values: raw value per class; what a prediction writes.
        names: name per class.
        unlabelled: raw values that mean "nobody said".
        target: "semantic" (a value is a class) or "boundaries" (values are instances; class 1 is where two
            of them touch, class 0 everything else).
    """

    values: tuple[int, ...]
    names: tuple[str, ...]
    unlabelled: tuple[int, ...] = ()
    target: str = "semantic"

    def __post_init__(self):
        for field in ("values", "names", "unlabelled"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if len(self.names) != len(self.values) or not all(isinstance(name, str) for name in self.names):
            raise InputError(f"label table: expected a name per value, found {self.names} for {self.values}.")
        for value in (*self.values, *self.unlabelled):
            if not isinstance(value, int) or isinstance(value, bool):
                raise InputError(f"label table: expected whole numbers as label values, found {value!r}.")
        if len(set(self.values)) != len(self.values) or set(self.values) & set(self.unlabelled):
            raise InputError(
                f"label table: expected every label value once, found {self.values} and {self.unlabelled}."
            )
        if self.target not in TARGETS:
            raise InputError(f"label table: expected a target of {', '.join(TARGETS)}; found {self.target!r}.")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.values)

    def config(self) -> dict:
        """Return the arguments as JSON-ready values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def to_classes(self, raw: np.ndarray, name: str = "labels") -> np.ndarray:
        """Return the class of every voxel, uint8, `UNLABELLED` where the value says so.

        Raises:
            InputError: a value that is neither a class nor unlabelled.
        """
        classes = np.full(raw.shape, UNLABELLED, np.uint8)
        known = np.isin(raw, self.unlabelled)
        for index, value in enumerate(self.values):
            where = raw == value
            classes[where] = index
            known |= where
        if not known.all():
            raise InputError(_unknown_values(name, raw[~known], self))
        return classes

    def to_values(self, classes: np.ndarray) -> np.ndarray:
        """Return the raw values of `classes`, in the smallest integer type that holds them all."""
        dtype = np.result_type(*(np.min_scalar_type(value) for value in self.values))
        return np.asarray(self.values, dtype)[classes]


BOUNDARY_TABLE = LabelTable((0, 1), ("interior", "boundary"), target="boundaries")


def _unknown_values(name: str, values: np.ndarray, table: LabelTable) -> str:
    found, counts = np.unique(values, return_counts=True)
    shown = ", ".join(f"{value:g} ({count} voxels)" for value, count in zip(found[:5], counts[:5], strict=True))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return (
        f"{name}: expected the labels {', '.join(map(str, table.values))}, found {shown}{more}; correct the labels, "
        "raise --num-classes, or name the values that mean unlabelled with --unlabelled."
    )


def count_values(volume: Volume) -> dict[int, int]:
    """Return how many voxels hold each label value, read in blocks.

    Raises:
        InputError: labels with channels, NaN, or values that are not whole numbers.
    """
    _refuse_channels(volume)
    total: dict[int, int] = {}
    for _, block in volume.blocks():
        values, counts = np.unique(block, return_counts=True)
        if values.dtype.kind == "f":
            _refuse_fractions(volume.name, values, counts)
        for value, count in zip(values, counts, strict=True):
            total[int(value)] = total.get(int(value), 0) + int(count)
    return dict(sorted(total.items()))


def _refuse_channels(volume: Volume) -> None:
    if volume.channels != 1:
        raise InputError(
            f"{volume.name}: expected one label per voxel, found {volume.channels} channels; "
            "store integer labels, one class index per voxel."
        )


def _refuse_fractions(name: str, values: np.ndarray, counts: np.ndarray) -> None:
    broken = ~np.isfinite(values) | (values != np.floor(values))
    if broken.any():
        raise InputError(
            f"{name}: expected labels that are whole numbers, found {values[broken][0]:g} "
            f"({int(counts[broken].sum())} such voxels in the first block that has any); is this the image?"
        )


def infer_table(
    counts: dict[str, dict[int, int]],
    num_classes: int | None = None,
    unlabelled: Iterable[int] = (),
    target: str = "semantic",
    names: dict[int, str] | None = None,
) -> LabelTable:
    """Return the table for volumes with the given value counts, by volume name.

    Args:
        counts: what `count_values` found, per volume.
        num_classes: classes are 0 to `num_classes - 1`; `None` takes the values found, in order.
        unlabelled: raw values that mean "nobody said".
        target: one of `TARGETS`.
        names: names of raw values, where the data set declares them.

    Raises:
        InputError: negative values, values beyond `num_classes`, fewer than two classes, nothing labelled.
    """
    unlabelled, names = tuple(unlabelled), names or {}
    if num_classes is not None and num_classes > MOST_CLASSES:
        raise InputError(f"num_classes: expected at most {MOST_CLASSES}, found {num_classes}.")
    for volume, found in counts.items():
        _check_values(volume, found, num_classes, unlabelled, target)
    labelled = sorted({value for found in counts.values() for value in found} - set(unlabelled))
    if target == "boundaries":
        return replace(BOUNDARY_TABLE, unlabelled=unlabelled)
    if num_classes is not None:
        values = tuple(range(num_classes))
    else:
        values = tuple(sorted({*labelled, *(value for value in names if value not in unlabelled)}))
    if len(values) < 2:
        raise InputError(
            f"{next(iter(counts))}: expected at least two classes, found only the label {values[0]} in all volumes; "
            "annotate a second class (the background counts), or give --num-classes."
        )
    if len(values) > MOST_CLASSES:
        raise InputError(
            f"{next(iter(counts))}: expected at most {MOST_CLASSES} classes, found {len(values)} label values; are "
            "these instances? Then add --target boundaries."
        )
    return LabelTable(values, tuple(names.get(value, str(value)) for value in values), unlabelled, target)


def _check_values(volume: str, found: dict[int, int], num_classes, unlabelled, target) -> None:
    labelled = {value: count for value, count in found.items() if value not in unlabelled}
    if not labelled:
        raise InputError(
            f"{volume}: expected some labelled voxels, found nothing labelled: every voxel is "
            f"{' or '.join(map(str, found))}, which means unlabelled here; annotate a slice, or leave the file out."
        )
    wrong = {value: count for value, count in labelled.items() if value < 0}
    if wrong:
        value, count = next(iter(wrong.items()))
        raise InputError(
            f"{volume}: expected labels of 0 or more, found {value} in {count} voxels; "
            f"if it means unlabelled, add --unlabelled {value}."
        )
    if target == "semantic" and num_classes is not None:
        wrong = {value: count for value, count in labelled.items() if value >= num_classes}
        if wrong:
            value, count = next(iter(wrong.items()))
            raise InputError(
                f"{volume}: expected labels from 0 to {num_classes - 1} (--num-classes {num_classes}), found {value} in "
                f"{count} voxels; raise --num-classes, or add --unlabelled {value} if it means unlabelled."
            )


def class_volume(volume: Volume, table: LabelTable) -> Volume:
    """Return the volume of classes (uint8, `UNLABELLED` where nobody said) of a raw label volume."""
    _refuse_channels(volume)
    readers = {"semantic": _read_semantic, "boundaries": _read_boundaries}
    read = readers[table.target]
    return replace(volume, dtype=np.dtype(np.uint8), read=lambda box: read(volume, table, box))


def _read_semantic(volume: Volume, table: LabelTable, box) -> np.ndarray:
    return table.to_classes(volume.read(box), volume.name)


def _read_boundaries(volume: Volume, table: LabelTable, box) -> np.ndarray:
    # A voxel's class depends on its neighbours: read one voxel more on each side, where there is one.
    wider = tuple(slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(box, volume.shape, strict=True))
    inside = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wider, strict=True))
    return boundaries(volume.read(wider)[..., 0], table.unlabelled)[inside][..., None]


def boundaries(instances: np.ndarray, unlabelled: Iterable[int] = ()) -> np.ndarray:
    """Return 1 where an instance touches another one across a face, 0 elsewhere, `UNLABELLED` as given.

    Both sides of a contact count, so a boundary is two voxels thick. A face towards an unlabelled voxel says
    nothing.
    """
    labelled = ~np.isin(instances, tuple(unlabelled))
    touching = np.zeros(instances.shape, bool)
    for axis in range(instances.ndim):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        differ = (instances[here] != instances[there]) & labelled[here] & labelled[there]
        touching[here] |= differ
        touching[there] |= differ
    return np.where(labelled, touching, UNLABELLED).astype(np.uint8)
