"""`check`: reads every file, names every fault, and shows what is annotated, before any training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_unet3d import report
from keras_unet3d.datasets import Case, DataKeys, Found, Globs, find_data, find_pairs, joined, misfits
from keras_unet3d.errors import collecting
from keras_unet3d.intensity import Statistics, measure
from keras_unet3d.labels import (
    MOST_CLASSES,
    AnnotatedSlices,
    LabelTable,
    Survey,
    annotated_slices,
    class_volume,
    shown_class,
    survey,
    table_faults,
    value_faults,
)
from keras_unet3d.settings import FitSettings
from keras_unet3d.splitting import split_one
from keras_unet3d.volumes import Volume
from keras_unet3d.workflows import prepare, sources

# Volumes that are told of and drawn, and slices drawn of each; the report has all.
_TOLD, _DRAWN, _SLICES = 20, 8, 6
# Data sets of so many volumes usually have every class in more than one.
_MANY = 3


@dataclass(frozen=True)
class _Case:
    """What could be read of one case; None where it could not."""

    name: str
    image: Volume | None
    label: Volume | None
    weight: Volume | None
    statistics: Statistics | None
    survey: Survey | None


def check(
    data: Sequence[str | Path],
    *,
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    settings: FitSettings = FitSettings(),
    picture: str | Path | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict:
    """Read all volumes, and say what they hold and everything that is wrong with them.

    Args:
        data, images, labels, weights, settings: as in `fit`.
        picture: a PNG file to draw the annotated slices to.
        say, progress: are given lines, and volumes done and volumes in all.

    Returns:
        `{"volumes": [...], "labels": the label table, "faults": [sentence], "notes": [sentence]}`; a volume has
        its name, shape, voxel size, grey values, label values, labelled voxels per class and annotated slices.
        What could not be read is None.
    """
    faults: list[str] = []
    notes: list[str] = []
    found = _find([data] if isinstance(data, str | Path) else data, Globs(images, labels, weights), settings, faults)
    cases = []
    for done, case in enumerate(found.cases, 1):
        cases.append(_read(case, faults))
        progress(done, len(found.cases))
    opened = [case.image for case in cases if case.image]
    faults += [*prepare.twice(opened), *prepare.other_channels(opened)]
    surveys = [case.survey for case in cases if case.survey]
    table = None
    if surveys:
        table = prepare.propose(surveys, found.label_names, found.unlabelled, settings, notes.append)
        faults += table_faults(table, {each.name: each.counts for each in surveys})
        notes += _rare_classes(table, surveys)
    classes = [_classes(case, table, faults) for case in cases]
    slices = [volume and annotated_slices(volume) for volume in classes]
    faults = list(dict.fromkeys(faults))
    if len(cases) == 1 and not faults and settings.validation_share:
        with collecting(faults):
            split_one(classes[0], slices[0], settings.validation_share, table.num_classes, settings.seed)
    volumes = [_described(case, table, each) for case, each in zip(cases, slices, strict=True)]
    for line in _lines(volumes, table, notes, faults):
        say(line)
    if picture is not None:
        _draw(cases, classes, slices, table, Path(picture), say)
    return {"volumes": volumes, "labels": table and table.config(), "faults": faults, "notes": notes}


# ---- reading ---------------------------------------------------------------------------------------


def _find(data: Sequence[str | Path], globs: Globs, settings: FitSettings, faults: list[str]) -> Found:
    keys = DataKeys(settings.raw_key, settings.label_key, settings.weight_key, settings.axes)
    found = []
    for path in data:
        with collecting(faults):
            found.append(find_data(path, keys))
    if globs:
        with collecting(faults):
            found.append(find_pairs(globs, keys))
    if found or not faults:
        with collecting(faults):
            every = joined(found)
            faults += every.faults
            return every
    return Found(tuple(case for each in found for case in each.cases), {})


def _read(case: Case, faults: list[str]) -> _Case:
    image = label = weight = statistics = surveyed = None
    with collecting(faults):
        image = case.image()
    with collecting(faults):
        label = case.label()
    with collecting(faults):
        weight = case.weight()
    for other in (label, weight):
        if image and other:
            faults += misfits(image, other)
    if image:
        with collecting(faults):
            statistics = measure(image)
    if label:
        with collecting(faults):
            surveyed = survey(label)
    return _Case(case.name, image, label, weight, statistics, surveyed)


def _classes(case: _Case, table: LabelTable | None, faults: list[str]) -> Volume | None:
    """Return the class volume of a case whose labels are in order; note what is wrong with its weights."""
    classes = None
    usable = case.survey and table.num_classes <= MOST_CLASSES
    if usable and not any(value_faults(case.name, case.survey.counts, table)):
        classes = class_volume(case.label, table)
    if not case.weight:
        return classes
    fit_together = classes is not None and case.weight.shape == classes.shape
    found: list[str] = []
    with collecting(found):
        found += sources.weight_faults(case.weight, classes if fit_together else None)
    faults += found
    return sources.where_weighted(classes, case.weight) if fit_together and not found else classes


def _rare_classes(table: LabelTable, surveys: Sequence[Survey]) -> Iterator[str]:
    """Yield a word on labels that are in no volume, or in a single one of many: they may be mistakes."""
    if table.target != "semantic" or table.num_classes > MOST_CLASSES:
        return
    for value, name in zip(table.values, table.names, strict=True):
        holding = [each for each in surveys if value in each.counts]
        if not holding:
            yield f"the class {shown_class(value, name)} is declared, but occurs in no volume"
        elif len(holding) == 1 and len(surveys) >= _MANY:
            yield (
                f"{holding[0].name}: the only one of {len(surveys)} volumes with the label {value} "
                f"({holding[0].counts[value]} voxels); if it is a mistake, correct it"
            )


# ---- telling ---------------------------------------------------------------------------------------


def _described(case: _Case, table: LabelTable | None, slices: AnnotatedSlices | None) -> dict:
    image, grey, counts = case.image, case.statistics, case.survey and case.survey.counts
    labelled = None
    if counts and table.target == "semantic":
        labelled = {name: counts.get(value, 0) for value, name in zip(table.values, table.names, strict=True)}
    return {
        "name": case.name,
        "shape": image and list(image.shape),
        "channels": image and image.channels,
        "voxel_size": image and image.spacing and list(image.spacing),
        "unit": image and image.unit,
        "dtype": image and str(image.dtype),
        "grey_values": grey and {key: np.ravel(getattr(grey, key)).tolist() for key in ("low", "high", "mean", "std")},
        "label_values": counts and {str(value): count for value, count in counts.items()},
        "labelled": labelled,
        "unlabelled": counts and sum(counts.get(value, 0) for value in table.unlabelled),
        "annotated_slices": slices and dict(zip("zyx", map(list, slices.per_axis), strict=True)),
        "dense": slices and slices.dense,
        "weights": case.weight is not None,
    }


def _lines(volumes: list[dict], table: LabelTable | None, notes: list[str], faults: list[str]) -> Iterator[str]:
    for volume in volumes[:_TOLD]:
        yield from _about(volume, table)
    if len(volumes) > _TOLD:
        yield f"... and {len(volumes) - _TOLD} more volumes (--json has them all)"
    if table and 0 < table.num_classes <= MOST_CLASSES:
        unlabelled = ", ".join(map(str, table.unlabelled)) or "no value"
        yield f"classes: {table.shown()}; taken as unlabelled: {unlabelled}"
    for note in notes:
        yield f"note: {note}"
    for number, fault in enumerate(faults, 1):
        yield f"fault {number}: {fault}"
    if not faults:
        yield f"no faults in {len(volumes)} volume{'s' if len(volumes) > 1 else ''}"


def _about(volume: dict, table: LabelTable | None) -> Iterator[str]:
    yield volume["name"]
    if volume["shape"]:
        size = volume["voxel_size"]
        voxel = f", voxel {' x '.join(f'{each:.4g}' for each in size)} {volume['unit'] or ''}".rstrip() if size else ""
        channels = f", {volume['channels']} channels" if volume["channels"] > 1 else ""
        yield f"  image: {' x '.join(map(str, volume['shape']))} (z y x){channels}{voxel}, {volume['dtype']}" + (
            _grey(volume["grey_values"]) if volume["grey_values"] else ""
        )
    if volume["label_values"]:
        voxels = sum(volume["label_values"].values())
        share = 1 - volume["unlabelled"] / voxels
        labelled = {name: count for name, count in (volume["labelled"] or {}).items() if count}
        held = ", ".join(f"{name}: {count}" for name, count in labelled.items())
        if not labelled or len(labelled) > MOST_CLASSES:
            held = f"{len(volume['label_values'])} values"
        yield f"  labels: {share:.1%} of the voxels; {held}"
    if volume["annotated_slices"]:
        slices = AnnotatedSlices(*(tuple(volume["annotated_slices"][axis]) for axis in "zyx"), volume["dense"])
        yield f"  annotated slices: {slices.shown()}"


def _grey(values: dict) -> str:
    return f", grey values {min(values['low']):g} to {max(values['high']):g}"


# ---- the picture ---------------------------------------------------------------------------------


def _draw(cases, classes, slices, table: LabelTable | None, path: Path, say: Callable[[str], None]) -> None:
    rows = []
    for case, volume, each in zip(cases, classes, slices, strict=True):
        if len(rows) < _DRAWN and case.statistics and volume and case.image.shape == volume.shape:
            chosen = _to_draw(each, volume.shape)
            rows.append([_panel(case, volume, axis, plane) for axis, plane in chosen])
    if rows:
        report.annotations(rows, path, table.names)
        say(f"picture: {path}")
    else:
        say(f"picture: nothing to draw, {path} is not written")


def _to_draw(slices: AnnotatedSlices, shape) -> list[tuple[int, int]]:
    """Return (axis, plane) of some annotated slices, spread over all of them; the middle ones of a dense volume."""
    if slices.dense or not any(slices.per_axis):
        return [(axis, size // 2) for axis, size in enumerate(shape)]
    every = [(axis, plane) for axis, planes in enumerate(slices.per_axis) for plane in planes]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(_SLICES, len(every))).round().astype(int))
    return [every[number] for number in chosen]


def _panel(case: _Case, classes: Volume, axis: int, plane: int) -> report.Panel:
    box = tuple(slice(plane, plane + 1) if a == axis else slice(0, size) for a, size in enumerate(classes.shape))
    image, labels = case.image.read(box)[..., 0], classes.read(box)[..., 0]
    return report.Panel(
        f"{case.name}, {'zyx'[axis]} = {plane}", image.squeeze(axis), labels.squeeze(axis), axis, case.image.spacing
    )
