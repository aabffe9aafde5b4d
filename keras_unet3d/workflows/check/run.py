"""`check`: reads every file, names every fault, and shows what is annotated, before any training."""

from collections.abc import Sequence
from pathlib import Path

from keras_unet3d.datasets import Case, Found, Globs, find_data, find_pairs, joined, misfits
from keras_unet3d.errors import collecting
from keras_unet3d.labels import (
    MOST_CLASSES,
    LabelTable,
    annotated_slices,
    class_volume,
    survey,
    table_faults,
    value_faults,
)
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.patches.holdout import split_one
from keras_unet3d.patches.source import weight_faults, where_weighted
from keras_unet3d.settings import DataOptions
from keras_unet3d.volumes import Volume
from keras_unet3d.volumes.grey_values import measure
from keras_unet3d.workflows.check import findings
from keras_unet3d.workflows.check.findings import CheckedCase
from keras_unet3d.workflows.data import other_channels, proposed_table, twice


def check(
    data: Sequence[str | Path],
    *,
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    settings: DataOptions = DataOptions(),
    picture: str | Path | None = None,
    listener: Listener = SILENT,
) -> dict:
    """Read all volumes, and say what they hold and everything that is wrong with them.

    Args:
        data, images, labels, weights: as in `fit`.
        settings: how the data are read; `FitSettings` are such options, too.
        picture: a PNG file to draw the annotated slices to.
        listener: is told lines, and volumes done and volumes in all.

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
        listener.progress(done, len(found.cases))
    opened = [case.image for case in cases if case.image]
    faults += [*twice(opened), *other_channels(opened)]
    surveys = [case.survey for case in cases if case.survey]
    table = None
    if surveys:
        table = proposed_table(surveys, found.label_names, found.unlabelled, settings, Listener(notes.append))
        faults += table_faults(table, {each.name: each.counts for each in surveys})
    notes += findings.doubts(table, surveys, opened)
    classes = [_classes(case, table, faults) for case in cases]
    slices = [volume and annotated_slices(volume) for volume in classes]
    faults = list(dict.fromkeys(faults))
    if len(cases) == 1 and not faults and settings.validation_share:
        with collecting(faults):
            split_one(classes[0], slices[0], settings.validation_share, table.num_classes, seed=0)
    volumes = [findings.described(case, table, each) for case, each in zip(cases, slices, strict=True)]
    for line in findings.lines(volumes, table, notes, faults):
        listener.say(line)
    if picture is not None:
        findings.draw(cases, classes, slices, table, Path(picture), listener)
    return {"volumes": volumes, "labels": table and table.config(), "faults": faults, "notes": notes}


# ---- reading ---------------------------------------------------------------------------------------


def _find(data: Sequence[str | Path], globs: Globs, settings: DataOptions, faults: list[str]) -> Found:
    keys = settings.keys
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


def _read(case: Case, faults: list[str]) -> CheckedCase:
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
    return CheckedCase(case.name, image, label, weight, statistics, surveyed)


def _classes(case: CheckedCase, table: LabelTable | None, faults: list[str]) -> Volume | None:
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
        found += weight_faults(case.weight, classes if fit_together else None)
    faults += found
    return where_weighted(classes, case.weight) if fit_together and not found else classes
