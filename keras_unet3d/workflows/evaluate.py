"""`evaluate`: how good a trained network is on labelled volumes; `compare`: which of two is better."""

from collections.abc import Callable, Iterator, Sequence
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
from keras_unet3d.evaluation.spread import Mean, mean_over_volumes, paired_test
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
from keras_unet3d.words import plural, some
from keras_unet3d.workflows.data import labelled_examples, listed, twice
from keras_unet3d.workflows.report.scenes import scene_of

# Figures of a class in a volume: of its voxels, and of its surface.
OVERLAP = ("iou", "dice", "sensitivity", "precision", "volume_error")
SURFACES = ("hausdorff_95", "surface_distance", "surface_dice")
# As many of the worst volumes are named.
_WORST = 5


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
    for line in _lines(result, table.background_name):
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
            example.name, volume["mean_dice"], lambda: scene_of(example, classes, side, objects, gallery.voxels)
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


def _lines(result: dict[str, Any], background: str | None) -> Iterator[str]:
    names, volumes = [*result["classes"]], result["volumes"]
    width = max(len(name) for name in [*names, "mean"])
    yield (
        f"{'class':<{width}}    IoU   Dice  sens.  prec.  volume   "
        f"(labelled voxels of {plural(len(volumes), 'volume')})"
    )
    for name, figure in result["classes"].items():
        yield f"{name:<{width}} {_row(figure) if figure else 'absent from truth and prediction'}"
    if result["mean_iou"] is not None:
        without = f"   without {background}" if background else ""
        yield f"{'mean':<{width}} {result['mean_iou']:.4f} {result['mean_dice']:.4f}{without}"
        yield from _lines_of_volumes(result, background, width)
    if result["calibration_error"] is not None:
        yield f"calibration error: {result['calibration_error']:.4f} (0 where of voxels that are 0.9 sure nine in ten are right)"
    if cells := result.get("instances"):
        yield from _lines_of_instances(cells, result["adapted_rand_error"])


def _lines_of_instances(cells: dict[str, float | None], error: float | None) -> Iterator[str]:
    yield (
        f"instances: {cells['found']} of {cells['instances']} found at IoU 0.5, {cells['predicted_instances']} predicted; average "
        f"precision {_shown(cells['average_precision_50'], '.4f')} at 0.5, {_shown(cells['average_precision'], '.4f')} over 0.5 "
        f"to 0.95; F1 {_shown(cells['f1'], '.4f')}, panoptic quality {_shown(cells['panoptic_quality'], '.4f')}"
    )
    if error is not None:
        yield (
            f"adapted Rand error of the instances: {error:.4f}; variation of information: {cells['splits']:.4f} bits by splits, "
            f"{cells['merges']:.4f} by merges"
        )


def _row(figure: dict[str, float | None]) -> str:
    iou, dice, sensitivity, precision, error = (figure[key] for key in OVERLAP)
    return f"{_shown(iou, '.4f')} {_shown(dice, '.4f')} {_shown(sensitivity, '.4f')} {_shown(precision, '.4f')} {_shown(error, '+.1%'):>7}"


def _shown(value: float | None, form: str) -> str:
    return "     -" if value is None else f"{value:{form}}"


def _lines_of_volumes(result: dict[str, Any], background: str | None, width: int) -> Iterator[str]:
    """Yield the means over volumes with their intervals, and the worst volumes."""
    volumes, per_volume = result["volumes"], result["per_volume"]
    distances = any(volume["dense"] for volume in volumes)
    yield f"mean over volumes [95 % interval]{_units(volumes) if distances else ''}"
    for name in result["classes"]:
        if name == background or per_volume["classes"][name]["dice"] is None:
            continue
        by_key = {key: _mean(mean) for key, mean in per_volume["classes"][name].items() if mean}
        parts = [f"Dice {by_key['dice'].in_words()}"]
        parts += [f"{words} {by_key[key].mean:{form}}" for key, (words, form) in _WORDS.items() if key in by_key]
        yield f"{name:<{width}} {', '.join(parts)}"
    yield f"{'mean':<{width}} Dice {_mean(per_volume['mean_dice']).in_words()}"
    if sparse := [volume["file"] for volume in volumes if not volume["dense"]]:
        yield f"no distances where not every voxel is labelled: {some(sparse)}"
    known = sorted(
        (volume for volume in volumes if volume["mean_dice"] is not None), key=lambda volume: volume["mean_dice"]
    )
    for volume in known[:_WORST] if len(known) > 1 else ():
        by_name = ", ".join(
            f"{name} {figure['dice']:.4f}"
            for name, figure in volume["classes"].items()
            if figure and name != background
        )
        yield f"lowest Dice: {volume['mean_dice']:.4f} {volume['file']} ({by_name})"


# Figure of a class, over volumes -> what it is called, and how it is written.
_WORDS = {
    "volume_error": ("volume", "+.1%"),
    "hausdorff_95": ("HD95", ".3g"),
    "surface_distance": ("surface distance", ".3g"),
    "surface_dice": ("surface Dice", ".4f"),
}


def _units(volumes: Sequence[dict[str, Any]]) -> str:
    """Return in what distances are, and what counts as right."""
    kinds = {(volume["tolerance"], volume["unit"]) for volume in volumes if volume["dense"]}
    units = {unit for _, unit in kinds}
    if len(units) > 1:
        return "; surface Dice within a voxel's longest edge"
    (unit,) = units
    within = f"{max(kinds)[0]:.3g} {unit}, a voxel's longest edge" if len(kinds) == 1 else "a voxel's longest edge"
    return f"; distances in {unit}; surface Dice within {within}"


def compare(first: dict[str, Any], second: dict[str, Any], listener: Listener = SILENT) -> dict[str, Any]:
    """Compare the figures of two networks, volume by volume.

    Args:
        first, second: what `evaluate` returned of the one and the other, on the same volumes.
        listener: is told a line per figure.

    Returns:
        `{"mean_dice": {"mean", "low", "high", "count", "p"}, "classes": {name: ...}}`: the mean over volumes of the
        first's Dice less the second's with its 95 % bootstrap interval, and p of the two-sided Wilcoxon signed-rank test;
        None where no volume has a figure in both. Where instances were compared, also "adapted_rand_error".

    Raises:
        InputError: figures of other volumes or classes.
    """
    if _files(first) != _files(second):
        raise InputError(
            f"compare: expected figures of the same volumes, found {some(_files(first))} and {some(_files(second))}."
        )
    refuse_other_classes([*first["classes"]], [*second["classes"]])

    def difference(figure: Callable[[dict[str, Any]], float | None]) -> dict[str, Any] | None:
        pairs = [(figure(a), figure(b)) for a, b in zip(first["volumes"], second["volumes"], strict=True)]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        mean = mean_over_volumes(known)
        return {**asdict(mean), "p": paired_test(known)} if mean else None

    def dice(name: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda volume: (volume["classes"][name] or {}).get("dice")

    result: dict[str, Any] = {
        "mean_dice": difference(lambda volume: volume["mean_dice"]),
        "classes": {name: difference(dice(name)) for name in first["classes"]},
    }
    if "adapted_rand_error" in first and "adapted_rand_error" in second:
        result["adapted_rand_error"] = difference(lambda volume: volume["adapted_rand_error"])
    listener.say(
        "the first less the second, mean over volumes [95 % interval], and p of the Wilcoxon signed-rank test:"
    )
    named = {f"Dice of {name}": found for name, found in result["classes"].items()}
    named |= {"mean Dice": result["mean_dice"], "adapted Rand error": result.get("adapted_rand_error")}
    for name, found in named.items():
        if found:
            listener.say(
                f"{name}: {_mean(found).in_words('+')}, p {found['p']:.2g}, {plural(found['count'], 'volume')}"
            )
    return result


def refuse_other_classes(first: Sequence[str], second: Sequence[str]) -> None:
    """Raise `InputError` where two networks, of which the names of the classes are given, cannot be compared."""
    if [*first] != [*second]:
        raise InputError(
            f"compare: expected two networks of the same classes, found {some(first)} and {some(second)}; name them alike."
        )


def _mean(found: dict[str, Any]) -> Mean:
    return Mean(found["mean"], found["low"], found["high"], found["count"])


def _files(result: dict[str, Any]) -> list[str]:
    return [volume["file"] for volume in result["volumes"]]


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per volume and class of what `evaluate` returned, for a table; what there is none of is None."""
    return [
        {"file": volume["file"], "class": name}
        | dict.fromkeys((*OVERLAP, *SURFACES))
        | (figure or {})
        | {"unit": volume["unit"], "tolerance": volume["tolerance"]}
        for volume in result["volumes"]
        for name, figure in volume["classes"].items()
    ]
