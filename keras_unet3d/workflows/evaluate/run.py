"""`evaluate`: how good a trained network is on labelled volumes."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.datasets import DataKeys, Example, Globs, open_examples
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.evaluation.calibration import Calibration, calibration
from keras_unet3d.evaluation.cells import Matches, adapted_rand_error, common, matches, variation_of_information
from keras_unet3d.evaluation.overlap import Counts, count, figures, means
from keras_unet3d.evaluation.spread import mean_over_volumes
from keras_unet3d.evaluation.surfaces import surface_distances, surface_figures
from keras_unet3d.fields import validated
from keras_unet3d.labels import (
    UNLABELLED,
    LabelTable,
    class_volume,
    not_annotated,
    survey,
    unknown_in,
    with_groups,
)
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.report.scene import Gallery, Side
from keras_unet3d.segments.cells import evidence, instances_of
from keras_unet3d.settings import DataOptions, PredictSettings
from keras_unet3d.volumes import whole_numbers
from keras_unet3d.workflows.data import labelled_examples, listed, twice
from keras_unet3d.workflows.evaluate.words import OVERLAP, SURFACES, lines
from keras_unet3d.workflows.report.scenes import scene_of


@validated
def evaluate(
    predictor: Predictor,
    data: str | Path | Sequence[str | Path],
    *,
    images: str | None = None,
    labels: str | None = None,
    keys: DataKeys | None = None,
    unlabelled: Sequence[int] = (),
    annotated: Sequence[str] = (),
    only: Sequence[str] | None = None,
    settings: PredictSettings = DEFAULTS,
    instances: bool = False,
    gallery: Gallery | None = None,
    listener: Listener = SILENT,
) -> dict:
    """Compare predictions with labels, over the labelled voxels.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        data, images, labels: as in `fit`.
        keys: names and axes in the files; `None` takes those that the network was trained with.
        unlabelled: further raw values that mean "nobody said", beside those of the training.
        annotated: in which files only some classes were annotated, as in `fit`; the others have no figures there.
        only: paths of the images to take; `None` takes all.
        settings: how volumes are predicted.
        instances: whether instances are cut, as `predict --instances` does, and compared too.
        gallery: is offered every volume for the viewer of a page.
        listener: is told lines, and volumes done and volumes in all.

    Returns:
        `{"classes": {name: {"iou", "dice", "sensitivity", "precision", "volume_error"}}, "mean_iou", "mean_dice",
        "calibration_error", "per_volume", "volumes": [{"file", "classes", "unit", "tolerance", ...}]}`.
        Figures over all count all volumes' voxels together; a class in neither truth nor prediction is None
        and in no mean; the means leave out the background. Of a volume every class but the background also has
        "hausdorff_95" and "surface_distance" (the mean distance, both ways), in the "unit" of the volume, and
        "surface_dice", within a "tolerance" of the longest edge of a voxel; they are None where a voxel is not labelled.
        "per_volume" has the mean over volumes of every figure with its 95 % bootstrap interval, `{"mean", "low", "high",
        "count"}`. "volume_error" is relative and "calibration_error" the expected one; see `evaluation.overlap`,
        `surfaces` and `calibration`. With `instances` every volume has "adapted_rand_error" (0 is equal) and
        "instances", `{"average_precision_50", "average_precision", "f1", "panoptic_quality", "found", "instances",
        "predicted_instances", "splits", "merges"}`, over the labelled voxels; see `evaluation.cells`. So has the whole,
        of the instances of all volumes together; the error, splits and merges are means over volumes.

    Raises:
        InputError: a `ValueError`: anything wrong with the data, or labels that the network does not know; `instances` of a network
            of classes.
    """
    table = predictor.spec.labels
    if table is None:
        raise InputError("predictor: expected one with a label table, as zoo.predictor returns it.")
    if instances:
        predictor.refuse_instances()
    predictor.refuse_output("labels", settings)
    opened = open_examples(listed(data), keys or predictor.spec.keys, Globs(images, labels))
    classes = () if table.of_instances else set(unlabelled) & set(table.raw_values)
    if classes:
        raise InputError(
            f"unlabelled: expected values that are no class of the network, {table.shown()}; found {min(classes)}; leave it out."
        )
    table = replace(table, unlabelled=tuple(dict.fromkeys((*table.unlabelled, *opened.unlabelled, *unlabelled))))
    channels = ",".join(table.names) if table.by_channel else None
    options = DataOptions(annotated=tuple(annotated), regions=channels, unlabelled=tuple(unlabelled))
    labelled = labelled_examples(opened.examples, opened, options)
    table = with_groups(table, [example.annotated for example in labelled])
    examples = [example for example in labelled if only is None or example.file in only]
    if not examples:
        raise InputError("DATA: expected volumes that the fit held out, found none of them; give the fit's own DATA.")
    refuse(twice([example.image for example in examples]))
    _refuse_other_labels(examples, table)
    result = measured(predictor, examples, table, settings, instances, gallery, listener)
    for line in lines(result, table.background_name):
        listener.say(line)
    return result


def measured(
    predictor: Predictor,
    examples: Sequence[Example],
    table: LabelTable,
    settings: PredictSettings = DEFAULTS,
    instances: bool = False,
    gallery: Gallery | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Return the figures of opened examples, as `evaluate` does, and say none of them."""
    totals: list[tuple[Counts, Calibration]] = []
    found: list[Matches] = []
    volumes: list[dict[str, Any]] = []
    for done, example in enumerate(examples, 1):
        counts, sureness, volume, cells = _compared(predictor, example, table, settings, instances, gallery)
        totals.append((counts, sureness))
        found += [cells] if cells else []
        volumes.append({"file": example.name, **volume})
        listener.progress(done, len(examples))
    (counts, sureness), *others = totals
    for other_counts, other_sureness in others:
        counts, sureness = counts + other_counts, sureness + other_sureness
    by_class = figures(counts, table.names)
    result: dict[str, Any] = {
        "classes": by_class,
        **means(by_class, table.background_name),
        "calibration_error": sureness.error,
    }
    if found:
        result["adapted_rand_error"] = _mean_of([volume["adapted_rand_error"] for volume in volumes])
        result["instances"] = reduce(add, found).figures | {
            key: _mean_of([volume["instances"][key] for volume in volumes]) for key in _ENTROPIES
        }
    result |= {"per_volume": _per_volume(volumes, table.names), "volumes": volumes}
    return result


def _compared(
    predictor: Predictor,
    example: Example,
    table: LabelTable,
    settings: PredictSettings,
    instances: bool,
    gallery: Gallery | None,
) -> tuple[Counts, Calibration, dict[str, Any], Matches | None]:
    """Return what is counted in an example over its labelled voxels, its figures, and which instances are found."""
    truth = class_volume(example.label, table, example.annotated).array()[..., 0]
    classes = table.as_classes(truth)
    # Of what the network says in numbers only boxes are held.
    network, shape = predictor.uncalibrated, (*truth.shape, table.num_classes)
    predicted = np.empty(shape if table.overlapping else truth.shape, np.uint8)
    certain = np.empty((*truth.shape, table.num_classes - 1), np.uint8) if instances else None
    unsure = np.empty(truth.shape, np.uint8) if gallery and not table.overlapping else None
    sureness = calibration(truth[:0], np.empty((0, *shape[1:]), np.float32))
    for box, values in network.boxes(example.image, "probabilities", settings):
        predicted[box] = network.convert(values, table.compared)
        if not table.overlapping:
            sureness += calibration(classes[box], predictor.convert(values, "probabilities"))
        if certain is not None:
            certain[box] = evidence(values)
        if unsure is not None:
            unsure[box] = np.round(255 * predictor.convert(values, "uncertainty"))
    predicted = predictor.cleaned(predicted, table.compared, settings)
    # What nobody looked for in this volume would have nothing but wrong predictions in it.
    looked_for = ~np.isin(np.arange(table.num_classes), table.partly(example.annotated))
    counts = count(truth, predicted, table.num_classes, table.meanings).only(looked_for)
    by_class = figures(counts, table.names)
    volume = {
        "classes": by_class,
        **means(by_class, table.background_name),
        "calibration_error": sureness.error,
        **_add_surfaces(by_class, truth, predicted, example, table),
    }
    found = raw = cells = None
    if certain is not None:
        cells = instances_of(certain, example.image.spacing, predictor.spec.instances)
        raw = whole_numbers(example.label.name, example.label.array()[..., 0])
        pairs = common(raw, cells, table.unlabelled, table.background_value)
        found, entropies = matches(pairs), variation_of_information(pairs) or (None, None)
        volume["adapted_rand_error"] = adapted_rand_error(pairs)
        volume["instances"] = found.figures | dict(zip(_ENTROPIES, entropies, strict=True))
    if gallery:
        numbers = table.painted(predicted > 0) if table.overlapping else predicted
        objects = None if raw is None else np.where(np.isin(raw, (*table.unlabelled, table.background_value)), 0, raw)
        side = Side(gallery.network, numbers, unsure, cells)
        gallery.offer(
            example.name,
            volume["mean_dice"],
            lambda: scene_of(example.name, example.image, classes, side, objects, gallery.voxels),
        )
    return counts, sureness, volume, found


# The two parts of the variation of information.
_ENTROPIES = ("splits", "merges")


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _add_surfaces(
    by_class: dict[str, dict | None], truth: np.ndarray, predicted: np.ndarray, example: Example, table: LabelTable
) -> dict[str, Any]:
    """Add the figures of surfaces to those of the classes, and return the unit and the tolerance that they have."""
    spacing = example.image.spacing
    tolerance = max(spacing) if spacing else 1.0
    # What is not labelled may be more of a class: nobody knows where its surface is.
    is_dense = not (truth == UNLABELLED).any()
    for number, (name, figure) in enumerate(by_class.items()):
        if figure is None:
            continue
        figure |= dict.fromkeys(SURFACES)
        if is_dense and name != table.background_name:
            is_class = table.meanings[:, number] == 1
            found = predicted[..., number] > 0 if table.overlapping else predicted == number
            figure |= surface_figures(surface_distances(is_class[truth], found, spacing), tolerance)
    unit = (example.image.unit or "units of the file") if spacing else "voxels"
    return {"unit": unit, "tolerance": tolerance, "dense": is_dense}


def _per_volume(volumes: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the mean over volumes of every figure with its interval; None where no volume has it."""

    def mean(values: list[float | None]) -> dict[str, Any] | None:
        known = mean_over_volumes([value for value in values if value is not None])
        return asdict(known) if known else None

    one_unit = len({volume["unit"] for volume in volumes}) == 1
    by_class = {
        name: {
            # Millimetres and micrometres have no mean.
            key: mean([volume["classes"][name][key] for volume in volumes if volume["classes"][name]])
            for key in (*OVERLAP, *SURFACES)
            if one_unit or key not in ("hausdorff_95", "surface_distance")
        }
        for name in names
    }
    over_all = {key: mean([volume[key] for volume in volumes]) for key in ("mean_iou", "mean_dice")}
    return {**over_all, "classes": by_class}


def _refuse_other_labels(examples: Sequence[Example], table: LabelTable) -> None:
    for example in examples:
        counts = survey(example.label).counts
        if set(counts) <= set(table.unlabelled):
            raise InputError(
                f"{example.label.name}: expected some labelled voxels, found nothing labelled; leave the file out."
            )
        mend = "correct the labels, or add `unlabelled=VALUE` if it means unlabelled"
        refuse(unknown_in(example.label.name, counts, table, mend))
        refuse(not_annotated(example.label.name, counts, table, example.annotated))
