"""`suggest`: the slices that would help most, ready to be painted on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import SAMPLE, open_partly_labelled
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import whole_folder, write_text
from keras_unet3d.geometry import AXES, Spacing
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.pictures.slices import Panel, draw_annotations
from keras_unet3d.places import place
from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.run_folder import PAGE
from keras_unet3d.settings.predict import PredictSettings
from keras_unet3d.volumes import Volume, write_plane
from keras_unet3d.workflows.annotate.painting import (
    LIST,
    Painting,
    Slice,
    raw_labels,
    refuse_painted,
    value_for_unlabelled,
)
from keras_unet3d.workflows.annotate.ranking import Suggestion, slices_to_annotate
from keras_unet3d.workflows.report.suggested import suggestion_page

PICTURE = "suggestions.png"


@validated
def suggest(
    predictor: Predictor,
    volume: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    count: int = 5,
    across: str | Sequence[str] = AXES,
    settings: PredictSettings = DEFAULTS,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> list[Suggestion]:
    """Find the slices of a volume that are worth annotating next, and write them as TIFF files to paint on.

    They are ranked by the network's uncertainty (the entropy of its probabilities) over voxels that have no label,
    away from those that have one and from each other. All classes have the same part in it, however rare they are.
    While few slices of the volume are annotated, the ranks are partly by chance, so that not all are taken from one place.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        volume: a volume file, or "sample".
        out: the folder to make: `suggestions.json` (the list), `suggestions.png`, a page to look through the volume, and
            for every slice `z020_image.tif`, `z020_labels.tif` (what is labelled there already; paint on this one) and
            `z020_predicted.tif` (what the network says).
        labels: labels that there are already; None takes those beside the image in HDF5 or Zarr, if there are any.
        count: how many slices.
        across: the axes across which slices may be taken, of "z", "y" and "x".
        settings: how the volume is predicted.
        overwrite: whether an earlier folder of suggestions may be replaced, in which nothing has been painted.
        listener: is told lines, and tiles done and tiles in all.

    Returns:
        The slices, the one that would help most first.

    Raises:
        InputError: a `ValueError`: anything wrong with the files; nothing is written then.
    """
    out, table = Path(out), paintable_table(predictor, settings)
    if count < 1 or not across or not set(across) <= set(AXES):
        raise InputError(f"suggest: expected a count of 1 or more, across z, y or x; found {count}, {across!r}.")
    if overwrite:
        refuse_painted(out)
    with whole_folder(out, overwrite, "folder of suggestions", (LIST,)) as folder:
        image, label = open_partly_labelled(volume, predictor.spec.keys, labels)
        unlabelled = value_for_unlabelled(label, table)
        raw = raw_labels(image, label, table, unlabelled)
        probabilities = predictor.predict(image, "probabilities", settings, listener=listener)
        unsure, predicted = entropy(probabilities), probabilities.argmax(axis=-1)
        suggestions = ranked(image, probabilities, raw != unlabelled, count, across)
        slices = [Slice(AXES[suggestion.axis], suggestion.plane) for suggestion in suggestions]
        painting = Painting(
            SAMPLE if str(volume) == SAMPLE else str(place(volume).resolve()),
            None if labels is None else str(place(labels).resolve()),
            predictor.spec.keys,
            table,
            unlabelled,
            tuple(slices),
        )
        painting.write(folder)
        grey = image.array()[..., 0]
        for plane in slices:
            for kind, array in (("image", grey), ("labels", raw), ("predicted", table.to_values(predicted))):
                write_plane(folder / plane.file(kind), plane.of(array))
        nothing = np.full(image.shape, UNLABELLED, np.uint8)
        instances = table.of_instances
        labelled = nothing if instances else replace(table, unlabelled=(unlabelled,)).to_classes(raw, image.name)
        columns = {"annotated": (grey, labelled), "predicted": (grey, predicted), "uncertainty": (unsure, nothing)}
        scores = [suggestion.score for suggestion in suggestions]
        write_text(folder / PAGE, suggestion_page(image, raw, painting, unsure, predicted, scores))
        draw_annotations(_panels(slices, columns, image.spacing), folder / PICTURE, table.names)
    for rank, suggestion in enumerate(suggestions, 1):
        resolved = f"uncertainty resolved {suggestion.score:.2f}"
        listener.say(f"{rank}. {AXES[suggestion.axis]} = {suggestion.plane}, {resolved}")
    colours = "instances, 0 or more" if instances else table.shown()
    listener.say(
        f"{out / PAGE} and {out / PICTURE} show them. Paint *_labels.tif of any of them ({colours}; {unlabelled} is not labelled); "
        f"*_predicted.tif is what the network says."
    )
    return suggestions


def paintable_table(predictor: Predictor, settings: PredictSettings = DEFAULTS) -> LabelTable:
    """Return what may be painted for a network; raises `InputError` where its labels cannot be painted."""
    table = predictor.spec.labels
    if table is None:
        raise InputError("predictor: expected one with a label table, as zoo.predictor returns it.")
    predictor.refuse_output("labels", settings)
    if table.overlapping:
        raise InputError(
            "suggest: expected a network of classes that do not overlap, whose labels can be painted; found another one."
        )
    return table


def ranked(
    image: Volume, probabilities: np.ndarray, labelled: np.ndarray, count: int, across: Sequence[str] = AXES
) -> list[Suggestion]:
    """Return the slices of an image that would help most, the best one first; see `suggest`.

    Args:
        image: whose voxel size counts.
        probabilities: of the classes, `(z, y, x, classes)`.
        labelled: `(z, y, x)` booleans.
        count: how many.
        across: axes, of "z", "y" and "x".

    Raises:
        InputError: every voxel has a label.
    """
    axes = [AXES.index(axis) for axis in dict.fromkeys(across)]
    suggestions = slices_to_annotate(entropy(probabilities), probabilities, labelled, count, axes, image.spacing)
    if not suggestions:
        raise InputError(f"{image.name}: expected voxels without a label, found none; there is nothing to annotate.")
    return suggestions


def _panels(slices: Sequence[Slice], columns: dict, spacing: Spacing | None) -> list[list[Panel]]:
    """Return a row per slice, of a panel per column: title -> grey values and classes of the volume."""
    return [
        [
            Panel(
                f"{plane.axis} = {plane.index}, {title}",
                plane.of(grey),
                plane.of(classes),
                AXES.index(plane.axis),
                spacing,
            )
            for title, (grey, classes) in columns.items()
        ]
        for plane in slices
    ]
