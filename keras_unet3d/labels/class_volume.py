"""Raw label volumes as volumes of classes, read by crops; instances as boundaries, or as insides and boundaries."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from keras_unet3d.geometry import Box, beside_faces, widened
from keras_unet3d.labels.survey import refuse_channels
from keras_unet3d.labels.table import UNLABELLED, LabelTable
from keras_unet3d.volumes import Volume


def class_volume(volume: Volume, table: LabelTable, annotated: Sequence[int] | None = None) -> Volume:
    """Return the volume of classes (uint8, `UNLABELLED` where nobody said) of a raw label volume.

    Where classes overlap, or where only some raw values are `annotated` in this volume (None for all), it holds labels, whose
    `meanings` the table has.
    """
    refuse_channels(volume)
    read = _read_instances if table.of_instances else _read_semantic
    group = table.partly(annotated)
    read = partial(_read_partly, group) if group else read
    return replace(volume, dtype=np.dtype(np.uint8), read=lambda box: read(volume, table, box))


def _read_semantic(volume: Volume, table: LabelTable, box: Box) -> np.ndarray:
    return table.to_classes(volume.read(box), volume.name)


def _read_partly(group: tuple[int, ...], volume: Volume, table: LabelTable, box: Box) -> np.ndarray:
    # What looks like background may be any of the classes that nobody looked for.
    labels = np.arange(UNLABELLED + 1, dtype=np.uint8)
    labels[table.background] = table.num_classes + table.partial.index(group)
    return labels[_read_semantic(volume, table, box)]


def _read_instances(volume: Volume, table: LabelTable, box: Box) -> np.ndarray:
    # A voxel's class depends on its neighbours, so they are read too.
    wider, inside = widened(box, volume.shape)
    raw = volume.read(wider)[..., 0]
    classes = boundaries(raw, table.unlabelled)
    if table.target == "cells":
        classes = _cells(raw, classes, table.background_value)
    return classes[inside][..., None]


def _cells(instances: np.ndarray, touching: np.ndarray, background: int) -> np.ndarray:
    """Return 0 in the background, 1 inside an instance, 2 where `touching` is 1 in it; what is unlabelled stays so."""
    cells = np.where(touching == UNLABELLED, UNLABELLED, touching + np.uint8(1))
    cells[(instances == background) & (touching != UNLABELLED)] = 0
    return cells


def boundaries(instances: np.ndarray, unlabelled: Iterable[int] = ()) -> np.ndarray:
    """Return 1 where an instance touches another one across a face, 0 elsewhere, `UNLABELLED` as given.

    Both sides of a contact count, so a boundary is two voxels thick. A face towards an unlabelled voxel is no contact.
    """
    labelled = ~np.isin(instances, tuple(unlabelled))
    touching = np.zeros(instances.shape, bool)
    for axis in range(instances.ndim):
        before, behind = beside_faces(axis)
        differ = (instances[before] != instances[behind]) & labelled[before] & labelled[behind]
        touching[before] |= differ
        touching[behind] |= differ
    return np.where(labelled, touching, UNLABELLED).astype(np.uint8)
