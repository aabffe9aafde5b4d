"""Slices to paint on, on their way out (`suggest`) and back in (`merge`): one folder, one list, one name per slice."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import DataKeys, open_partly_labelled
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import read_json, write_json
from keras_unet3d.labels import LabelTable, smallest_type, survey, unknown_in
from keras_unet3d.volumes import Volume

AXES = "zyx"
LIST = "suggestions.json"


@dataclass(frozen=True)
class Slice:
    """A plane of a volume: across "z", "y" or "x", and its index."""

    axis: str
    index: int

    def __post_init__(self):
        if self.axis not in (*AXES,) or type(self.index) is not int or self.index < 0:
            raise InputError(f"slice: expected an axis z, y or x and an index, found {self.axis!r} {self.index!r}.")

    def file(self, kind: str) -> str:
        """Return the name of its file: "z020_image.tif", "z020_labels.tif" or "z020_predicted.tif"."""
        return f"{self.axis}{self.index:03d}_{kind}.tif"

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the plane of an array `(z, y, x)`, as a view."""
        return array[(slice(None),) * AXES.index(self.axis) + (self.index,)]


@dataclass(frozen=True)
class Painting:
    """What a folder of slices belongs to.

    Attributes:
        volume: the image file, or "sample".
        labels: the file of labels that there were already, where it is not the image's.
        keys: names and axes in the files.
        table: what may be painted.
        unlabelled: the value painted for "not labelled".
        slices: the planes.
    """

    volume: str
    labels: str | None
    keys: DataKeys
    table: LabelTable
    unlabelled: int
    slices: tuple[Slice, ...]

    def __post_init__(self):
        if not isinstance(self.volume, str) or not isinstance(self.labels, str | None):
            raise InputError(f"expected paths of a volume and its labels, found {self.volume!r}, {self.labels!r}.")
        classes = self.table.values if self.table.target == "semantic" else ()
        if type(self.unlabelled) is not int or self.unlabelled in classes:
            raise InputError(f"expected a value for unlabelled that is no class, found {self.unlabelled!r}.")

    def write(self, folder: Path) -> None:
        """Write the list into the folder."""
        write_json(folder / LIST, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Painting":
        """Return the list in a folder that `suggest` wrote; raises `InputError` for any other."""
        listed = read_json(folder / LIST, "the list of a folder that unet3d-cli suggest wrote")
        try:
            return cls(
                **listed
                | {
                    "keys": DataKeys(**listed["keys"]),
                    "table": LabelTable(**listed["table"]),
                    "slices": tuple(Slice(**each) for each in listed["slices"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / LIST}: expected the list that unet3d-cli suggest wrote, found a broken one ({error}); "
                "run suggest again."
            ) from error

    def open(self) -> tuple[Volume, np.ndarray]:
        """Return the image and the raw labels `(z, y, x)` that there are, `unlabelled` elsewhere."""
        image, label = open_partly_labelled(self.volume, self.keys, self.labels)
        for each in self.slices:
            if each.index >= image.shape[AXES.index(each.axis)]:
                raise InputError(
                    f"{image.name}: expected the volume of the suggestions, with a slice {each.axis} = {each.index}; "
                    f"found one of shape {image.shape}; run suggest again."
                )
        return image, raw_labels(image, label, self.table, self.unlabelled)


def value_for_unlabelled(label: Volume | None, table: LabelTable) -> int:
    """Return the value to paint for "not labelled": the table's, or one that is no label."""
    if table.unlabelled:
        return table.unlabelled[0]
    held = (*table.values, *(survey(label).counts if label else ()))
    return next(value for value in (255, 65535, max(held) + 1) if value not in held)


def raw_labels(image: Volume, label: Volume | None, table: LabelTable, unlabelled: int) -> np.ndarray:
    """Return the raw labels that there are, `unlabelled` elsewhere, in the smallest type that holds all values.

    Raises:
        InputError: a value that is in no table.
    """
    if label is None:
        return np.full(image.shape, unlabelled, smallest_type([*table.values, unlabelled]))
    found = survey(label).counts
    known = replace(table, unlabelled=tuple({*table.unlabelled, unlabelled}))
    refuse(unknown_in(label.name, found, known, "give the labels that the network was trained on (--labels)"))
    raw = label.array()[..., 0].astype(smallest_type([*found, *table.values, unlabelled]))
    raw[np.isin(raw, table.unlabelled)] = unlabelled
    return raw
