"""Slices to paint on, on their way out (`suggest`) and back in (`merge`): one folder, one list, one name per slice."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import DataKeys, open_partly_labelled
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.fields import Validated, checked
from keras_unet3d.files import read_json, write_json
from keras_unet3d.geometry import AXES
from keras_unet3d.labels import LabelTable, infer_unlabelled, smallest_type, survey, unknown_in
from keras_unet3d.volumes import Volume, read_plane

LIST = "suggestions.json"


@dataclass(frozen=True)
class Slice(Validated):
    """A plane of a volume: across "z", "y" or "x", and its index."""

    WHAT = "a slice"

    axis: str = checked(choices=AXES)
    index: int = checked(least=0)

    def file(self, kind: str) -> str:
        """Return the name of its file: "z020_image.tif", "z020_labels.tif" or "z020_predicted.tif"."""
        return f"{self.axis}{self.index:03d}_{kind}.tif"

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the plane of an array `(z, y, x)`, as a view."""
        return array[(slice(None),) * AXES.index(self.axis) + (self.index,)]


@dataclass(frozen=True)
class Painting(Validated):
    """What a folder of slices belongs to.

    Attributes:
        volume: the image file, or "sample".
        labels: the file of labels that there were already, where it is not the image's.
        keys: names and axes in the files.
        table: what may be painted.
        unlabelled: the value painted for "not labelled".
        slices: the planes.
    """

    WHAT = "the list of slices that suggest wrote"

    volume: str
    labels: str | None
    keys: DataKeys
    table: LabelTable
    unlabelled: int
    slices: tuple[Slice, ...]

    def faults(self) -> Iterator[str]:
        classes = () if self.table.of_instances else self.table.values
        if self.unlabelled in classes:
            yield f"expected a value for unlabelled that is no class, found {self.unlabelled!r}."

    def write(self, folder: Path) -> None:
        """Write the list into the folder."""
        write_json(folder / LIST, self.config())

    @classmethod
    def read(cls, folder: Path) -> "Painting":
        """Return the list in a folder that `suggest` wrote; raises `InputError` for any other."""
        try:
            return cls.from_config(read_json(folder / LIST, cls.WHAT), str(folder / LIST))
        except InputError as error:
            raise InputError(f"{str(error).rstrip('.')}; run suggest again.") from error

    def open(self) -> tuple[Volume, np.ndarray]:
        """Return the image and the raw labels `(z, y, x)` so far, `unlabelled` elsewhere."""
        image, label = open_partly_labelled(self.volume, self.keys, self.labels)
        for plane in self.slices:
            if plane.index >= image.shape[AXES.index(plane.axis)]:
                raise InputError(
                    f"{image.name}: expected the volume of the suggestions, with a slice {plane.axis} = {plane.index}; "
                    f"found one of shape {image.shape}; run suggest again."
                )
        return image, raw_labels(image, label, self.table, self.unlabelled)


def refuse_painted(folder: Path) -> None:
    """Raise `InputError` for a folder of suggestions with slices that somebody has painted: that work would be lost."""
    painted = []
    # Slices of a volume that is gone cannot be compared, and are worth nothing without it.
    with suppress(InputError):
        painting = Painting.read(folder)
        _, raw = painting.open()
        files = {folder / plane.file("labels"): plane.of(raw) for plane in painting.slices}
        painted = [
            path.name
            for path, before in files.items()
            if path.is_file() and not np.array_equal(read_plane(path), before)
        ]
    if painted:
        raise InputError(
            f"{folder}: expected a folder without painted slices to overwrite, found {', '.join(painted)}; merge them and "
            "choose another path, or remove the folder."
        )


def value_for_unlabelled(label: Volume | None, table: LabelTable) -> int:
    """Return the value to paint for "not labelled": the table's, what the labels obviously have for it, or one that is no label."""
    if table.unlabelled:
        return table.unlabelled[0]
    surveys = [survey(label)] if label else []
    meant = {
        *(() if table.of_instances else table.values),
        *((table.background_value,) if table.target == "cells" else ()),
    }
    inferred = [value for value in infer_unlabelled(surveys)[0] if value not in meant]
    if inferred:
        return inferred[0]
    held = {*table.values, *(value for held in surveys for value in held.counts)}
    return next(value for value in (255, 65535, max(held) + 1) if value not in held)


def raw_labels(image: Volume, label: Volume | None, table: LabelTable, unlabelled: int) -> np.ndarray:
    """Return the raw labels so far, `unlabelled` elsewhere, in the smallest type that holds all values.

    Raises:
        InputError: a value that is in no table.
    """
    if label is None:
        return np.full(image.shape, unlabelled, smallest_type([*table.values, unlabelled]))
    counts = survey(label).counts
    known = replace(table, unlabelled=tuple({*table.unlabelled, unlabelled}))
    refuse(unknown_in(label.name, counts, known, "give the labels that the network was trained on, by `labels`"))
    raw = label.array()[..., 0].astype(smallest_type([*counts, *table.values, unlabelled]))
    raw[np.isin(raw, table.unlabelled)] = unlabelled
    return raw
