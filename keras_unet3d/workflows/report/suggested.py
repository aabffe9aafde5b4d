"""The page of slices that are worth annotating next: which, why, and a viewer that begins at the first one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_unet3d.geometry import AXES
from keras_unet3d.labels import LabelTable, class_volume
from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import MOST_VOXELS, Side
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.words import plural
from keras_unet3d.workflows.annotate.painting import Painting, Slice
from keras_unet3d.workflows.report.scenes import scene_of

# Of the classes in a slice so many are named.
_MOST_CLASSES = 3


def suggestion_page(
    image: Volume,
    raw: np.ndarray,
    painting: Painting,
    unsure: np.ndarray,
    predicted: np.ndarray,
    scores: Sequence[float],
) -> str:
    """Return the page of what `suggest` suggests.

    Args:
        image: the volume.
        raw: its raw labels so far, `(z, y, x)`.
        painting: the slices, the best one first, and what may be painted.
        unsure: how unsure the network is, `(z, y, x)`, 0 to 1.
        predicted: class numbers, `(z, y, x)`.
        scores: how much uncertainty each slice would resolve.
    """
    table = replace(painting.table, unlabelled=(painting.unlabelled,))
    labelled = raw != painting.unlabelled
    side = Side("prediction", predicted.astype(np.uint8), (unsure * 255).round().astype(np.uint8))
    objects = np.where(labelled & (raw != table.background_value), raw, 0) if table.of_instances else None
    classes = class_volume(from_array(raw, image.name), table).array()[..., 0]
    scene = scene_of(image.name, image, classes, side, objects, MOST_VOXELS)
    open_uncertainty = unsure * ~labelled
    places = [_most_unsure(plane, open_uncertainty) for plane in painting.slices]
    in_scene = [[at // every for at, every in zip(place, scene.step, strict=True)] for place in places]
    rows = [
        {"name": f"{plane.axis} = {plane.index}", "at": at, "score": score}
        | _why(plane, unsure, predicted, labelled, table)
        for plane, at, score in zip(painting.slices, in_scene, scores, strict=True)
    ]
    share = labelled.mean()
    values = "instances, 0 or more" if table.of_instances else painting.table.shown()
    return html(
        Page(
            title=f"Slices of {image.name} to annotate next",
            summary=f"{plural(len(rows), 'slice')} that would teach the network most; {share:.1%} of the voxels have a label so far. "
            f"Paint on *_labels.tif of any of them, beside this page ({values}; {painting.unlabelled} is not labelled); merge puts them back.",
            slices=rows,
            scenes=[replace(scene, start=(in_scene[0][0], in_scene[0][1], in_scene[0][2]))],
            class_names=table.shown_names,
            background=table.background,
        )
    )


def _most_unsure(plane: Slice, uncertainty: np.ndarray) -> list[int]:
    """Return the voxel `(z, y, x)` of a slice where the uncertainty is largest."""
    there = plane.of(uncertainty)
    place = [int(index) for index in np.unravel_index(there.argmax(), there.shape)]
    place.insert(AXES.index(plane.axis), plane.index)
    return place


def _why(
    plane: Slice, unsure: np.ndarray, predicted: np.ndarray, labelled: np.ndarray, table: LabelTable
) -> dict[str, Any]:
    """Return what speaks for a slice: over its voxels without a label, and how far the nearest annotated one is."""
    axis, free = AXES.index(plane.axis), ~plane.of(labelled)
    annotated = np.flatnonzero(labelled.all(axis=tuple(other for other in range(3) if other != axis)))
    shares = np.bincount(plane.of(predicted)[free], minlength=len(table.shown_names)) / free.sum()
    common = np.argsort(-shares, kind="stable")[:_MOST_CLASSES]
    return {
        "unsure": float(plane.of(unsure)[free].mean()),
        "free": float(free.mean()),
        "distance": int(np.abs(annotated - plane.index).min()) if len(annotated) else None,
        "classes": [(table.shown_names[number], float(shares[number])) for number in common if shares[number] > 0],
    }
