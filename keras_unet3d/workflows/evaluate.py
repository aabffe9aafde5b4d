"""`evaluate`: IoU and Dice of a trained network on labelled volumes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_unet3d.datasets import DataKeys, Example, Globs, open_examples
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.evaluation.cells import adapted_rand_error
from keras_unet3d.evaluation.overlap import Counts, count, figures, means
from keras_unet3d.fields import validated
from keras_unet3d.labels import LabelTable, class_volume, survey, unknown_in
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.segments.cells import instances as cut_instances
from keras_unet3d.settings.predict import PredictSettings
from keras_unet3d.words import plural
from keras_unet3d.workflows.data import listed, twice


@validated
def evaluate(
    predictor: Predictor,
    data: str | Path | Sequence[str | Path],
    *,
    images: str | None = None,
    labels: str | None = None,
    keys: DataKeys | None = None,
    unlabelled: Sequence[int] = (),
    only: Sequence[str] | None = None,
    settings: PredictSettings = DEFAULTS,
    instances: bool = False,
    listener: Listener = SILENT,
) -> dict:
    """Compare predictions with labels, over the labelled voxels.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        data, images, labels: as in `fit`.
        keys: names and axes in the files; `None` takes those that the network was trained with.
        unlabelled: further raw values that mean "nobody said", beside those of the training.
        only: paths of the images to take; `None` takes all.
        settings: how volumes are predicted.
        instances: whether cells are cut along predicted boundaries, as `predict --instances` does, and compared too.
        listener: is told lines, and volumes done and volumes in all.

    Returns:
        `{"classes": {name: {"iou", "dice"}}, "mean_iou", "mean_dice", "volumes": [{"file", "classes", ...}]}`.
        Figures over all count all volumes' voxels together; a class in neither truth nor prediction is None
        and in no mean; the means leave out the background. With `instances` every volume, and the whole as the mean
        over volumes, has "adapted_rand_error" (0 is equal), over the voxels of labelled instances.

    Raises:
        InputError: a `ValueError`: anything wrong with the data, or labels that the network does not know; `instances` of a network
            of other things than boundaries, or without scikit-image.
    """
    table = predictor.spec.labels
    if table is None:
        raise InputError("predictor: expected one with a label table, as zoo.predictor returns it.")
    if instances:
        predictor.refuse_instances()
    opened = open_examples(listed(data), keys or predictor.spec.keys, Globs(images, labels))
    classes = set(unlabelled) & set(table.values) if table.target == "semantic" else ()
    if classes:
        raise InputError(
            f"unlabelled: expected values that are no class of the network, {table.shown()}; found {min(classes)}; leave it out."
        )
    table = replace(table, unlabelled=tuple(dict.fromkeys((*table.unlabelled, *opened.unlabelled, *unlabelled))))
    examples = [example for example in opened.examples if only is None or example.file in only]
    if not examples:
        raise InputError("DATA: expected volumes that the fit held out, found none of them; give the fit's own DATA.")
    refuse(twice([example.image for example in examples]))
    _refuse_other_labels(examples, table)
    background = table.names[table.background]
    total: Counts | None = None
    volumes: list[dict[str, Any]] = []
    for done, example in enumerate(examples, 1):
        counts, error = _compared(predictor, example, table, settings, instances)
        total = counts if total is None else total + counts
        by_class = figures(counts, table.names)
        cells = {"adapted_rand_error": error} if instances else {}
        volumes.append({"file": example.name, "classes": by_class, **means(by_class, background), **cells})
        listener.progress(done, len(examples))
    assert total is not None  # there is an example
    by_class = figures(total, table.names)
    result: dict[str, Any] = {"classes": by_class, **means(by_class, background)}
    if instances:
        errors = [volume["adapted_rand_error"] for volume in volumes if volume["adapted_rand_error"] is not None]
        result["adapted_rand_error"] = sum(errors) / len(errors) if errors else None
    result["volumes"] = volumes
    for line in _lines(result, background):
        listener.say(line)
    return result


def _compared(
    predictor: Predictor, example: Example, table: LabelTable, settings: PredictSettings, instances: bool
) -> tuple[Counts, float | None]:
    """Return the counts of an example, and the error of its instances; None where they are not asked for."""
    truth = class_volume(example.label, table).array()[..., 0]
    if not instances:
        predicted = predictor.predict(example.image, "classes", settings)
        return count(truth, predicted, table.num_classes), None
    probabilities = predictor.predict(example.image, "probabilities", settings)
    counts = count(truth, predictor.convert(probabilities, "classes"), table.num_classes)
    cells = cut_instances(probabilities[..., 1], spacing=example.image.spacing)
    return counts, adapted_rand_error(example.label.array()[..., 0], cells, table.unlabelled)


def _refuse_other_labels(examples: Sequence[Example], table: LabelTable) -> None:
    for example in examples:
        counts = survey(example.label).counts
        if set(counts) <= set(table.unlabelled):
            raise InputError(
                f"{example.label.name}: expected some labelled voxels, found nothing labelled; leave the file out."
            )
        mend = "correct the labels, or add `unlabelled=VALUE` if it means unlabelled"
        refuse(unknown_in(example.label.name, counts, table, mend))


def _lines(result: dict[str, Any], background: str) -> Iterator[str]:
    width = max(len(name) for name in [*result["classes"], "mean"])
    yield f"{'class':<{width}}    IoU   Dice   (labelled voxels of {plural(len(result['volumes']), 'volume')})"
    for name, figure in result["classes"].items():
        shown = "absent from truth and prediction" if figure is None else f"{figure['iou']:.4f} {figure['dice']:.4f}"
        yield f"{name:<{width}} {shown}"
    if result["mean_iou"] is not None:
        yield f"{'mean':<{width}} {result['mean_iou']:.4f} {result['mean_dice']:.4f}   without {background}"
        dice = [volume["mean_dice"] for volume in result["volumes"] if volume["mean_dice"] is not None]
        yield f"mean Dice per volume: {sum(dice) / len(dice):.4f}, lowest {min(dice):.4f}"
    if result.get("adapted_rand_error") is not None:
        yield f"adapted Rand error of the instances: {result['adapted_rand_error']:.4f}"
