"""Annotating in a viewer: what its buttons do, on arrays; windows and layers are the viewer's."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import overlapping, refuse_unwritable, temporary_folder
from keras_unet3d.geometry import AXES
from keras_unet3d.labels import LabelTable, smallest_type, survey, unknown_in
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.prediction.predictor import DEFAULTS, PlainFunction, Predictor
from keras_unet3d.prediction.stitching import assembled
from keras_unet3d.volumes import Volume, from_array, stem, volume_format, write_volume
from keras_unet3d.workflows.annotate.painting import Painting, Slice, raw_labels, value_for_unlabelled
from keras_unet3d.workflows.annotate.suggest import paintable_table, ranked
from keras_unet3d.workflows.predict.results import AS_THEY_ARE, INSTANCES, Wanted, results

# Instances that a person may add to those that there are.
_MOST_INSTANCES = 2**16 - 1


def specification(predictor: Predictor, listener: Listener = SILENT) -> ModelSpec | PlainFunction:
    """Return what a network means; raises `InputError` where its labels cannot be painted."""
    paintable_table(predictor)
    return predictor.spec


def segmented(predictor: Predictor, image: Volume, listener: Listener = SILENT) -> tuple[np.ndarray, LabelTable]:
    """Return the label volume `(z, y, x)` of an image, as `predict` writes it, and what its values mean.

    Networks of instances give a number to each.

    Raises:
        InputError: grey values that the network cannot take, or a network whose classes overlap.
    """
    table = paintable_table(predictor)
    wanted = Wanted("labels", DEFAULTS, INSTANCES if table.of_instances else AS_THEY_ARE, resample=False)
    with temporary_folder() as folder:
        boxes = results(predictor, image, predictor.examine(image), wanted, folder / "labels", listener)
        return assembled(boxes, image.shape), table


def labels_to_paint(
    predictor: Predictor, image: Volume, label: Volume | None, listener: Listener = SILENT
) -> tuple[np.ndarray, LabelTable, int]:
    """Return the raw labels `(z, y, x)` of an image so far, to be painted on, what may be painted, and the value for "not labelled".

    Raises:
        InputError: labels that the network does not know, or a network whose classes overlap.
    """
    table = paintable_table(predictor)
    unlabelled = value_for_unlabelled(label, table)
    raw = raw_labels(image, label, table, unlabelled)
    most = _MOST_INSTANCES if table.of_instances else 0
    return raw.astype(np.result_type(raw.dtype, smallest_type([0, most])), copy=False), table, unlabelled


def new_instance(labels: np.ndarray, unlabelled: int) -> int:
    """Return the first number, from 1 on, above those of all instances in labels, that does not mean "not labelled"."""
    number = int(labels.max(initial=0, where=labels != unlabelled)) + 1
    return number + (number == unlabelled)


def next_slices(
    predictor: Predictor, image: Volume, labelled: np.ndarray, count: int, listener: Listener = SILENT
) -> list[Slice]:
    """Return the slices of an image that are worth annotating next, the best one first, as `suggest` finds them.

    Args:
        predictor: a trained network.
        image: any size.
        labelled: where it has labels, `(z, y, x)` booleans.
        count: how many slices.
        listener: is told tiles done and tiles in all.

    Raises:
        InputError: every voxel has a label, or a network whose classes overlap.
    """
    paintable_table(predictor)
    probabilities = predictor.predict(image, "probabilities", listener=listener)
    return [Slice(AXES[best.axis], best.plane) for best in ranked(image, probabilities, labelled, count)]


def save_painted(
    path: Path, labels: np.ndarray, image: Volume, table: LabelTable, unlabelled: int, keys: DataKeys = DataKeys()
) -> Painting:
    """Write painted labels `(z, y, x)` in the geometry of their image, and return what they belong to: what a fit is told.

    An image that has no file, because it was made in the viewer, is written beside the labels.

    Raises:
        InputError: values that are no label, nothing painted, or a path that is the image's; nothing is written then.
    """
    if image.path and overlapping(image.path, path):
        raise InputError(f"{path}: expected a new file for the labels, found the image; choose another name.")
    refuse_unwritable(path)
    counts = survey(from_array(labels, str(path))).counts
    known = replace(table, unlabelled=tuple({*table.unlabelled, unlabelled}))
    refuse(unknown_in(str(path), counts, known, f"paint with those, or {unlabelled} for not labelled"))
    if set(counts) == {unlabelled}:
        raise InputError(f"{path}: expected painted labels, found none; paint some slices first.")
    file = image.path
    if file is None:
        file = path.with_name(f"{stem(path)}_image{volume_format(path)}")
        write_volume(file, image.array() if image.channels > 1 else image.array()[..., 0], image, keys.raw)
    write_volume(path, labels, image, keys.label)
    return Painting(str(file.resolve()), str(path.resolve()), keys, table, unlabelled, ())


def free_run(labels: Path) -> Path:
    """Return the first of NAME-run1, NAME-run2, ... beside painted labels that is not there yet."""
    number = 1
    while (run := labels.with_name(f"{stem(labels)}-run{number}")).exists():
        number += 1
    return run
