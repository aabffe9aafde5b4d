"""The label table: raw values to classes with names, and back; which values mean "unlabelled"."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_unet3d.choices import TARGETS
from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked
from keras_unet3d.words import some

UNLABELLED = 255
MOST_CLASSES = 64
# What no class has for its number.
_UNKNOWN = 254


@dataclass(frozen=True)
class LabelTable(Validated):
    """The raw value and the name of every class, in the order of the classes.

    A label volume is read as a number per voxel, its label: that of its class, or of several that it may be or is (`meanings`).

    Attributes:
        values: raw value per class; what a prediction writes. Empty where classes overlap and have a channel each in label files.
        names: name per class.
        unlabelled: raw values that mean "nobody said".
        target: "semantic" (a value is a class), "boundaries" (values are instances; class 1 is where two of them touch,
            class 0 everything else) or "cells" (values are instances and a background; class 1 is the inside of
            an instance, class 2 where it touches another one or the background, class 0 the background).
        background_value: the raw value of the background where the others are instances, with the target "cells", or
            where classes overlap.
        partial: the classes that the background of partly labelled volumes may be, a group for each kind of them; their labels
            are numbered behind those of the classes.
        regions: where classes overlap, the raw values that every one of them is made of; labels are then these values, in order.
    """

    WHAT = "a label table"

    values: tuple[int, ...]
    names: tuple[str, ...]
    unlabelled: tuple[int, ...] = ()
    target: str = checked("semantic", TARGETS)
    background_value: int = 0
    partial: tuple[tuple[int, ...], ...] = ()
    regions: tuple[tuple[int, ...], ...] = ()

    def faults(self) -> Iterator[str]:
        if self.regions:
            yield from self._region_faults()
        elif len(self.names) != len(self.values):
            yield f"label table: expected a name per value, found {self.names} for {self.values}."
        # With instances, `values` are what a prediction writes and `unlabelled` what files hold: both may have a 0.
        both = () if self.of_instances else set(self.values) & set(self.unlabelled)
        if len(set(self.values)) != len(self.values) or both:
            yield f"label table: expected every label value once, found {self.values} and {self.unlabelled}."
        if self.target == "cells" and self.background_value in self.unlabelled:
            yield (
                f"background: expected a value of its own, found {self.background_value}, which means unlabelled; give another "
                "one, or take `target=boundaries`."
            )

        if any(not 0 <= number < self.num_classes for group in self.partial for number in group):
            yield f"label table: expected numbers of classes in its groups, found {self.partial}."

    def _region_faults(self) -> Iterator[str]:
        if len(self.regions) != len(self.names) or len(self.values) not in (0, len(self.names)):
            yield f"label table: expected values for every region, found {self.regions} for {self.names}."
        if not all(self.regions) or set(self.unlabelled) & {value for region in self.regions for value in region}:
            yield f"regions: expected values that are labelled, found {self.regions} and unlabelled {self.unlabelled}."
        if self.of_instances or self.partial:
            yield "regions: expected classes that are labelled in all volumes, and no instances; leave one of them out."

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may be of several classes, or of none."""
        return bool(self.regions)

    @property
    def by_channel(self) -> bool:
        """Whether classes overlap and have a channel each in label files."""
        return self.overlapping and not self.values

    @property
    def raw_values(self) -> tuple[int, ...]:
        """The raw values that label volumes hold, in the order of their labels; without those of instances."""
        if not self.regions:
            return self.values
        return tuple(sorted({self.background_value}.union(*self.regions)))

    @property
    def num_labels(self) -> int:
        """Number of labels that a voxel can have."""
        return len(self.raw_values) + len(self.partial)

    @property
    def label_names(self) -> tuple[str, ...]:
        """What messages call the labels: the classes' names, or the raw values where classes overlap."""
        if self.regions:
            return tuple(map(str, self.raw_values))
        return (*self.names, *(" or ".join(self.names[number] for number in group) for group in self.partial))

    @property
    def plain(self) -> bool:
        """Whether label n is class n, and no other."""
        return not (self.regions or self.partial)

    @property
    def meanings(self) -> np.ndarray:
        """What every label says of every class, `(labels, classes)`: 1 it is, 0 it is not, -1 it may be."""
        if self.regions:
            return np.array([[int(value in region) for region in self.regions] for value in self.raw_values])
        groups = [[-int(number in group) for number in range(self.num_classes)] for group in self.partial]
        return np.array([*np.eye(self.num_classes, dtype=int).tolist(), *groups])

    def as_classes(self, labels: np.ndarray) -> np.ndarray:
        """Return labels as the class numbers that a prediction has, uint8; `UNLABELLED` where a voxel may be of several classes."""
        if self.plain:
            return labels
        numbers = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
        if self.regions:
            numbers[: self.num_labels] = self.painted(self.meanings > 0)
        else:
            numbers[: self.num_classes] = range(self.num_classes)
        return numbers[labels]

    @property
    def shown_names(self) -> tuple[str, ...]:
        """The names of the class numbers that a prediction has; where classes overlap, 0 is none of them."""
        return ("none", *self.names) if self.regions else self.names

    @property
    def written_values(self) -> tuple[int, ...]:
        """The raw values that a prediction writes, a value for each of `shown_names`."""
        return (self.background_value, *self.values) if self.regions else self.values

    @property
    def compared(self) -> str:
        """The output of a prediction that is compared with labels: class numbers, or where they overlap a mask for each."""
        return "masks" if self.regions else "classes"

    @property
    def background(self) -> int:
        """The class number that means nothing of interest: the one of that name, else the first."""
        named = not (self.of_instances or self.regions) and "background" in self.names
        return self.names.index("background") if named else 0

    @property
    def background_name(self) -> str | None:
        """The name of the class that means nothing of interest; None where classes overlap, and all are of interest."""
        return None if self.regions else self.names[self.background]

    @property
    def background_raw(self) -> int:
        """The raw value that a prediction writes where there is nothing of interest."""
        return self.background_value if self.regions else self.values[self.background]

    @property
    def unseen(self) -> int | None:
        """The raw value that viewers leave out: the class named background, or 0 where it is the first; None where all are seen."""
        raw = self.background_raw
        return raw if raw == 0 or self.regions or self.background_name == "background" else None

    def partly(self, annotated: Sequence[int] | None) -> tuple[int, ...]:
        """Return the classes that the background may be of a volume in which only these raw values are annotated."""
        if annotated is None or self.regions or self.of_instances:
            return ()
        group = {
            number for number, value in enumerate(self.values) if value not in annotated or number == self.background
        }
        return tuple(sorted(group)) if len(group) > 1 else ()

    def painted(self, masks: np.ndarray) -> np.ndarray:
        """Return class numbers of the masks of classes that overlap, `(..., classes)`: of several the last, 0 for none."""
        numbers = np.zeros(masks.shape[:-1], np.uint8)
        for number in range(masks.shape[-1]):
            numbers[masks[..., number]] = number + 1
        return numbers

    @property
    def of_instances(self) -> bool:
        """Whether label files hold instances, and not classes."""
        return self.target != "semantic"

    def to_classes(self, raw: np.ndarray, name: str = "labels") -> np.ndarray:
        """Return the class of every voxel, uint8, `UNLABELLED` where the value says so; where classes overlap, the label.

        Raises:
            InputError: a value that is neither a class nor unlabelled.
        """
        classes = np.full(raw.shape, _UNKNOWN, np.uint8)
        meanings = dict.fromkeys(self.unlabelled, UNLABELLED) | {
            value: index for index, value in enumerate(self.raw_values)
        }
        if raw.dtype in (np.uint8, np.uint16):
            # A table of all values is much faster than a look for each.
            table = np.full(np.iinfo(raw.dtype).max + 1, _UNKNOWN, np.uint8)
            for value, meaning in meanings.items():
                if 0 <= value < len(table):
                    table[value] = meaning
            # Every value is in the table; to look whether it is takes a third longer.
            np.take(table, raw, out=classes, mode="clip")
        else:
            for value, meaning in meanings.items():
                classes[raw == value] = meaning
        unknown = classes == _UNKNOWN
        if unknown.any():
            values, counts = np.unique(raw[unknown], return_counts=True)
            raise InputError(unknown_values(name, values, counts, f"the labels {self.shown()}", "correct the labels"))
        return classes

    def declared(self) -> str:
        """Return classes that do not overlap as `parse_classes` reads them: "7=cell,40"."""
        pairs = zip(self.values, self.names, strict=True)
        return ",".join(f"{value}" if str(value) == name else f"{value}={name}" for value, name in pairs)

    def shown(self) -> str:
        """Return values and names for messages: "7 cell, 40 wall"; a name that is only the value stands once."""
        if self.regions:
            parts = [
                " + ".join(map(str, region)) if self.values else f"channel {number}"
                for number, region in enumerate(self.regions)
            ]
            return some([f"{name} = {part}" for name, part in zip(self.names, parts, strict=True)], MOST_CLASSES)
        # As many as there may be classes are worth reading.
        return some(
            [shown_class(value, name) for value, name in zip(self.values, self.names, strict=True)], MOST_CLASSES
        )

    def to_values(self, classes: np.ndarray) -> np.ndarray:
        """Return the raw values of class numbers, in the smallest integer type that holds them all."""
        return np.asarray(self.written_values, smallest_type(self.written_values))[classes]


BOUNDARY_TABLE = LabelTable((0, 1), ("interior", "boundary"), target="boundaries")
CELL_TABLE = LabelTable((0, 1, 2), ("background", "inside", "boundary"), target="cells")
# Target of label files that hold instances -> what a network says about them.
INSTANCE_TABLES = {table.target: table for table in (BOUNDARY_TABLE, CELL_TABLE)}


def smallest_type(values: Iterable[int]) -> np.dtype:
    """Return the smallest integer type that holds all of `values`."""
    low, high = min(values), max(values)
    kinds = ("int8", "int16", "int32", "int64") if low < 0 else ("uint8", "uint16", "uint32", "uint64")
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise InputError(f"values: expected whole numbers that a file of 64-bit integers holds, found {low} to {high}.")


def shown_class(value: int, name: str) -> str:
    """Return value and name of a class for messages; a name that is only the value stands once."""
    return str(value) if name == str(value) else f"{value} {name}"


def unknown_values(
    name: str, values: Sequence[float] | np.ndarray, counts: Sequence[int] | np.ndarray, known: str, mend: str
) -> str:
    """Return the sentence on values that are not in the table: file, values, how many voxels hold each, what to do.

    "VALUE" in `mend` stands for the first of the values.
    """
    # Whole numbers are written in full: 16777215, not 1.67772e+07.
    texts = [str(int(value)) if float(value).is_integer() else f"{value:g}" for value in values]
    shown = some([f"{text} ({count} voxels)" for text, count in zip(texts, counts, strict=True)])
    return f"{name}: expected {known}; found {shown}; {mend.replace('VALUE', texts[0])}."


def parse_classes(text: str) -> dict[int, str]:
    """Return the names by raw value in a text like "0=background,7=cell,40"; a value may go without a name.

    Raises:
        InputError: anything else, a value or a name that occurs twice, or fewer than two classes.
    """
    classes: dict[int, str] = {}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.removeprefix("-").isdecimal():
            raise InputError(
                f"classes: expected whole numbers with names, like 0=background,1=tubule; found {part.strip()!r}."
            )
        if int(value) in classes or (name or value) in classes.values():
            raise InputError(f"classes: expected every value and every name once, found {part.strip()!r} again.")
        classes[int(value)] = name or value
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"classes: expected 2 to {MOST_CLASSES} classes, found {len(classes)}: {text!r}.")
    return classes
