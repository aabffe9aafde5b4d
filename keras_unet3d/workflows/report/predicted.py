"""The page of volumes that were segmented: each with the label volume that was written of it."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.places import Place, place
from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import MOST_SCENES, MOST_VOXELS, Scene, Side, in_bytes, thinning
from keras_unet3d.volumes import open_volume
from keras_unet3d.words import plural
from keras_unet3d.workflows.report.scenes import note_of, object_charts, planes_of, sizes_of


def prediction_page(
    images: Sequence[str | Path],
    written: Sequence[Place],
    table: LabelTable,
    keys: DataKeys,
    *,
    network: str = "prediction",
    instances: bool = False,
) -> str:
    """Return the page of what `predict` has written, of the first few volumes.

    Args:
        images: the inputs.
        written: the label volumes, in the same order.
        table: what the label values mean.
        keys: names and axes in the files.
        network: what it is called.
        instances: whether the label values are instances.

    Raises:
        InputError: labels with a channel per class.
    """
    if table.by_channel:
        raise InputError("report: expected a value per voxel to show, found a channel per class; leave it out.")
    shown = [*zip(map(place, images), written, strict=True)][:MOST_SCENES]
    scenes = [_scene(*pair, table, keys, instances, MOST_VOXELS // len(shown)) for pair in shown]
    background = LabelTable((0, 1), ("background", "object")) if instances else table
    return html(
        Page(
            title=f"Prediction of {network}",
            summary=f"{plural(len(written), 'volume')} segmented.",
            words={image.name: str(labels) for image, labels in zip(map(place, images), written, strict=True)},
            scenes=scenes,
            scene_note=f"Shown: {len(scenes)} of {plural(len(written), 'volume')}.",
            class_names=background.shown_names,
            background=background.background,
            objects=object_charts(scenes, None),
        )
    )


def _scene(path: Place, target: Place, table: LabelTable, keys: DataKeys, instances: bool, most: int) -> Scene:
    image, labels = open_volume(path, *keys.of(keys.raw)), open_volume(target, "label")
    step = thinning(image.shape, image.spacing, most)
    values = planes_of(labels, step)
    objects = values if instances else None
    classes = (values > 0).astype(np.uint8) if instances else table.as_classes(table.to_classes(values, labels.name))
    # Of a volume that was thinned nobody has counted the voxels.
    sizes = sizes_of(objects, 1.0) if prod(step) == 1 else None
    z, y, x = (edge * every for edge, every in zip(image.spacing or (1, 1, 1), step, strict=True))
    side = Side("prediction", classes, objects=objects, sizes=sizes)
    grey = in_bytes(planes_of(image, step))
    return Scene(path.name, grey, None, (side,), spacing=(z, y, x), step=step, note=note_of(image, step))
