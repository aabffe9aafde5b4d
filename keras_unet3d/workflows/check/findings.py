"""What `check` found, in words and pictures: doubts, a description of every volume, lines, panels."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.datasets import Example
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Triple
from keras_unet3d.labels import MOST_CLASSES, AnnotatedSlices, LabelTable, Survey, shown_class
from keras_unet3d.listener import Listener
from keras_unet3d.pictures.slices import Panel, draw_annotations
from keras_unet3d.volumes import SPACING_TOLERANCE, Volume
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.words import by, plural, some

# Volumes (and classes of each) that are told of, volumes and slices of each that are drawn; the report has all.
_TOLD, _DRAWN, _SLICES = 20, 8, 6
# Data sets of so many volumes usually have every class in more than one, and one voxel size.
_MANY = 3


@dataclass(frozen=True)
class CheckedCase:
    """What could be read of one case; None where it could not, and where there are no weights.

    Attributes:
        image, label, weight: its volumes.
        statistics: of the grey values.
        survey: which label values it holds.
        annotated: the raw label values that were annotated; None for all.
        classes: the labels as classes, where all of them are in order.
        slices: which of its slices are annotated.
    """

    name: str
    image: Volume | None
    label: Volume | None
    weight: Volume | None
    statistics: Statistics | None = None
    survey: Survey | None = None
    annotated: tuple[int, ...] | None = None
    classes: Volume | None = None
    slices: AnnotatedSlices | None = None

    @property
    def example(self) -> Example | None:
        """Image and labels, where both are there and fit together."""
        with suppress(InputError):
            return Example(self.name, self.image, self.label) if self.image and self.label else None
        return None


def doubts(table: LabelTable | None, surveys: Sequence[Survey], images: Sequence[Volume]) -> Iterator[str]:
    """Yield a word on everything that may be a mistake and may be meant."""
    if table and not (table.of_instances or table.overlapping) and table.num_classes <= MOST_CLASSES:
        yield from _rare_classes(table, surveys)
        yield from _lone_classes(table, surveys)
    yield from _odd_sizes(images)


def _rare_classes(table: LabelTable, surveys: Sequence[Survey]) -> Iterator[str]:
    """Yield a word on labels that are in no volume, or in a single one of many: they may be mistakes."""
    for value, name in zip(table.values, table.names, strict=False):
        holding = [volume for volume in surveys if value in volume.counts]
        if not holding:
            yield f"the class {shown_class(value, name)} is declared, but occurs in no volume"
        elif len(holding) == 1 and len(surveys) >= _MANY:
            yield (
                f"{holding[0].name}: the only one of {len(surveys)} volumes with the label {value} "
                f"({holding[0].counts[value]} voxels); if it is a mistake, correct it"
            )


def _lone_classes(table: LabelTable, surveys: Sequence[Survey]) -> Iterator[str]:
    """Yield a word on volumes of many that hold a single class: their labels may be missing."""
    for volume in surveys if len(surveys) > 1 else ():
        held = [value for value in volume.counts if value not in table.unlabelled]
        if len(held) == 1:
            yield f"{volume.name}: holds the label {held[0]} alone; if something was not annotated there, leave it out"


def _odd_sizes(images: Sequence[Volume]) -> Iterator[str]:
    """Yield a word on volumes whose voxel size differs from the median: one network learns all sizes as one."""
    sizes = {image.name: image.micrometres for image in images if image.micrometres}
    if len(sizes) < _MANY:
        return
    median = np.median(list(sizes.values()), axis=0)
    for name, size in sizes.items():
        ratio = np.divide(size, median)
        if (np.maximum(ratio, 1 / ratio) > SPACING_TOLERANCE).any():
            yield (
                f"{name}: voxel size {by(size, '.4g')} um, the median is {by(median, '.4g')} um; correct it, or resample the volume first"
            )


# ---- in words --------------------------------------------------------------------------------------


def described(case: CheckedCase, table: LabelTable | None) -> dict[str, Any]:
    """Return a case as `check` reports it, in values that JSON can hold."""
    image, grey, slices = case.image, case.statistics, case.slices
    return {
        "name": case.name,
        "shape": image and list(image.shape),
        "channels": image and image.channels,
        "voxel_size": image and image.spacing and list(image.spacing),
        "unit": image and image.unit,
        "dtype": image and str(image.dtype),
        "grey_values": grey and {key: np.ravel(getattr(grey, key)).tolist() for key in ("low", "high", "mean", "std")},
        **_labels_described(case.survey.counts if case.survey else None, table),
        "annotated_slices": slices and dict(zip(AXES, map(list, slices.per_axis), strict=True)),
        "dense": slices and slices.dense,
        "weights": case.weight is not None,
    }


def _labels_described(counts: dict[int, int] | None, table: LabelTable | None) -> dict[str, Any]:
    if not counts or not table:
        return {"label_values": None, "labelled": None, "unlabelled": None}
    labelled = None
    if not table.of_instances:
        members = table.regions or [(value,) for value in table.values]
        labelled = {
            name: sum(counts.get(value, 0) for value in values)
            for values, name in zip(members, table.names, strict=True)
        }
    return {
        "label_values": {str(value): count for value, count in counts.items()},
        "labelled": labelled,
        "unlabelled": sum(counts.get(value, 0) for value in table.unlabelled),
    }


def lines(volumes: list[dict], table: LabelTable | None, notes: list[str], faults: list[str]) -> Iterator[str]:
    for volume in volumes[:_TOLD]:
        yield from _about(volume, table)
    if len(volumes) > _TOLD:
        yield f"... and {len(volumes) - _TOLD} more volumes (the JSON has them all)"
    if table and 0 < table.num_classes <= MOST_CLASSES:
        unlabelled = ", ".join(map(str, table.unlabelled)) or "no value"
        yield f"classes: {table.shown()}; taken as unlabelled: {unlabelled}"
    for note in notes:
        yield f"note: {note}"
    for number, fault in enumerate(faults, 1):
        yield f"fault {number}: {fault}"
    if not faults:
        yield f"no faults in {plural(len(volumes), 'volume')}"


def _about(volume: dict, table: LabelTable | None) -> Iterator[str]:
    yield volume["name"]
    if volume["shape"]:
        size = volume["voxel_size"]
        voxel = f", voxel {by(size, '.4g')} {volume['unit'] or ''}".rstrip() if size else ""
        channels = f", {volume['channels']} channels" if volume["channels"] > 1 else ""
        yield f"  image: {by(volume['shape'])} (z y x){channels}{voxel}, {volume['dtype']}" + (
            _grey(volume["grey_values"]) if volume["grey_values"] else ""
        )
    if volume["label_values"]:
        voxels = sum(volume["label_values"].values())
        share = 1 - volume["unlabelled"] / voxels
        labelled = {name: count for name, count in (volume["labelled"] or {}).items() if count}
        held = some([f"{name}: {count}" for name, count in labelled.items()], _TOLD)
        if not labelled or len(labelled) > MOST_CLASSES:
            held = f"{len(volume['label_values'])} values"
        yield f"  labels: {share:.1%} of the voxels; {held}"
    if volume["annotated_slices"]:
        z, y, x = (tuple(volume["annotated_slices"][axis]) for axis in AXES)
        slices = AnnotatedSlices(z, y, x, volume["dense"])
        yield f"  annotated slices: {slices.shown()}"


def _grey(values: dict) -> str:
    return f", grey values {min(values['low']):g} to {max(values['high']):g}"


# ---- the picture ---------------------------------------------------------------------------------


def draw(cases: Sequence[CheckedCase], table: LabelTable | None, path: Path, listener: Listener) -> None:
    """Draw annotated slices of the first cases to `path`, a PNG."""
    rows: list[list[Panel]] = []
    for case in cases:
        image, classes, slices = case.image, case.classes, case.slices
        if (
            table
            and len(rows) < _DRAWN
            and case.statistics
            and image
            and classes
            and slices
            and image.shape == classes.shape
        ):
            chosen = _to_draw(slices, classes.shape)
            rows.append([_panel(case.name, image, classes, table, axis, plane) for axis, plane in chosen])
    if rows and table:
        draw_annotations(rows, path, table.shown_names)
        listener.say(f"picture: {path}")
    else:
        listener.say(f"picture: nothing to draw, {path} is not written")


def _to_draw(slices: AnnotatedSlices, shape: Triple) -> list[tuple[int, int]]:
    """Return (axis, plane) of some annotated slices, spread over all of them; the middle ones of a dense volume."""
    if slices.dense or not any(slices.per_axis):
        return [(axis, size // 2) for axis, size in enumerate(shape)]
    planes = [(axis, plane) for axis, along in enumerate(slices.per_axis) for plane in along]
    chosen = np.unique(np.linspace(0, len(planes) - 1, min(_SLICES, len(planes))).round().astype(int))
    return [planes[number] for number in chosen]


def _panel(name: str, image: Volume, classes: Volume, table: LabelTable, axis: int, plane: int) -> Panel:
    box = tuple(slice(plane, plane + 1) if a == axis else slice(0, size) for a, size in enumerate(classes.shape))
    grey, labels = image.read(box)[..., 0], table.as_classes(classes.read(box)[..., 0])
    return Panel(f"{name}, {AXES[axis]} = {plane}", grey.squeeze(axis), labels.squeeze(axis), axis, image.spacing)
