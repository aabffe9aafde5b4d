"""Raw label volumes as volumes of classes, read by crops; boundaries between instances."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from keras_unet3d.geometry import Box, beside_faces, widened
from keras_unet3d.labels.survey import refuse_channels
from keras_unet3d.labels.table import UNLABELLED, LabelTable
from keras_unet3d.volumes import Volume


def class_volume(volume: Volume, table: LabelTable) -> Volume:
    """Return the volume of classes (uint8, `UNLABELLED` where nobody said) of a raw label volume."""
    refuse_channels(volume)
    readers = {"semantic": _read_semantic, "boundaries": _read_boundaries}
    read = readers[table.target]
    return replace(volume, dtype=np.dtype(np.uint8), read=lambda box: read(volume, table, box))


def _read_semantic(volume: Volume, table: LabelTable, box: Box) -> np.ndarray:
    return table.to_classes(volume.read(box), volume.name)


def _read_boundaries(volume: Volume, table: LabelTable, box: Box) -> np.ndarray:
    # A voxel's class depends on its neighbours, so they are read too.
    wider, inside = widened(box, volume.shape)
    return boundaries(volume.read(wider)[..., 0], table.unlabelled)[inside][..., None]


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
