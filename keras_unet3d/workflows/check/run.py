"""`check`: reads every file, names every fault, and shows what is annotated, before any training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_unet3d.datasets import Case, Declared, Found, Globs, find_data, find_pairs, joined, misfits, on_voxels_of
from keras_unet3d.errors import InputError, collecting
from keras_unet3d.fields import validated
from keras_unet3d.labels import (
    MOST_CLASSES,
    LabelTable,
    annotated_slices,
    class_volume,
    not_annotated,
    survey,
    table_faults,
    value_faults,
    with_groups,
)
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.patches.holdout import SHARE, split_one
from keras_unet3d.patches.source import index_labels, weight_faults, where_weighted
from keras_unet3d.settings import DataOptions
from keras_unet3d.volumes.grey_values import measure
from keras_unet3d.workflows.check import findings
from keras_unet3d.workflows.check.findings import CheckedCase
from keras_unet3d.workflows.data import labelled_examples, listed, other_channels, proposed_table, twice


@validated
def check(
    data: str | Path | Sequence[str | Path],
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
    if picture is not None and Path(picture).suffix != ".png":
        raise InputError(f"{picture}: expected a file ending in .png; choose another name.")
    faults: list[str] = []
    notes: list[str] = []
    data_set = _find(listed(data), Globs(images, labels, weights), settings, faults)
    opened = _with_labels([_open(case, faults) for case in data_set.cases], data_set, settings, faults)
    cases = []
    for done, case in enumerate(opened, 1):
        cases.append(_read(case, faults))
        listener.progress(done, len(opened))
    images_read = [case.image for case in cases if case.image]
    faults += [*twice(images_read), *other_channels(images_read)]
    surveys = [case.survey for case in cases if case.survey]
    table = None
    if surveys:
        table = proposed_table(surveys, data_set, settings, Listener(notes.append))
        table = with_groups(table, [case.annotated for case in cases])
        faults += table_faults(table, {volume.name: volume.counts for volume in surveys})
        cases = [_with_classes(case, table, faults) for case in cases]
    notes += findings.doubts(table, surveys, images_read)
    faults = list(dict.fromkeys(faults))
    if len(cases) == 1 and not faults and settings.validation_share != 0:
        faults += _holdout_faults(cases[0], table, settings.validation_share or SHARE)
    volumes = [findings.described(case, table) for case in cases]
    for line in findings.lines(volumes, table, notes, faults):
        listener.say(line)
    if picture is not None:
        findings.draw(cases, table, Path(picture), listener)
    return {"volumes": volumes, "labels": table and table.config(), "faults": faults, "notes": notes}


def _find(data: Sequence[str | Path], globs: Globs, settings: DataOptions, faults: list[str]) -> Found:
    """Return all cases that can be had; note in `faults` what cannot."""
    parts = []
    for path in data:
        with collecting(faults):
            parts.append(find_data(path, settings.keys))
    if globs:
        with collecting(faults):
            parts.append(find_pairs(globs, settings.keys))
    if parts or not faults:
        with collecting(faults):
            data_set = joined(parts)
            faults += data_set.faults
            return data_set
    return Found(cases=tuple(case for part in parts for case in part.cases))


def _open(case: Case, faults: list[str]) -> CheckedCase:
    image = label = weight = None
    with collecting(faults):
        image = case.image()
    with collecting(faults):
        label = case.label()
        label = on_voxels_of(image, label) if image else label
    with collecting(faults):
        weight = case.weight()
    return CheckedCase(case.name, image, label, weight)


def _with_labels(
    cases: list[CheckedCase], declared: Declared, settings: DataOptions, faults: list[str]
) -> list[CheckedCase]:
    """Return the cases with what is said of their labels: which were annotated, and what their channels mean."""
    with collecting(faults):
        examples = [case.example for case in cases]
        labelled = iter(labelled_examples([example for example in examples if example], declared, settings))
        said = [example and next(labelled) for example in examples]
        return [
            replace(case, label=example.label, annotated=example.annotated) if example else case
            for case, example in zip(cases, said, strict=True)
        ]
    return cases


def _read(case: CheckedCase, faults: list[str]) -> CheckedCase:
    """Return the case with its grey values and label values."""
    statistics = surveyed = None
    for other in (case.label, case.weight):
        if case.image and other:
            faults += misfits(case.image, other)
    if case.image:
        with collecting(faults):
            statistics = measure(case.image)
    if case.label:
        with collecting(faults):
            surveyed = survey(case.label)
    return replace(case, statistics=statistics, survey=surveyed)


def _with_classes(case: CheckedCase, table: LabelTable, faults: list[str]) -> CheckedCase:
    """Return a case with its classes and annotated slices, where its labels are in order; note what its weights lack."""
    classes = None
    few = table.num_classes <= MOST_CLASSES
    if few and case.label and case.survey and not any(value_faults(case.name, case.survey.counts, table)):
        wrong = [*not_annotated(case.label.name, case.survey.counts, table, case.annotated)]
        classes = None if wrong else class_volume(case.label, table, case.annotated)
        faults += wrong
    if case.weight:
        weighed = classes if classes and case.weight.shape == classes.shape else None
        wrong = []
        with collecting(wrong):
            wrong += weight_faults(case.weight, weighed)
        faults += wrong
        if weighed and not wrong:
            classes = where_weighted(weighed, case.weight)
    return replace(case, classes=classes, slices=annotated_slices(classes) if classes else None)


def _holdout_faults(case: CheckedCase, table: LabelTable | None, share: float) -> list[str]:
    """Return what is wrong where no part of a single volume can be held out."""
    faults: list[str] = []
    if case.classes and case.slices and table:
        with collecting(faults):
            split_one(case.classes, index_labels(case.classes, table.num_labels), case.slices, share, seed=0)
    return faults
