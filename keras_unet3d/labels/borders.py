"""Weights of voxels between two objects: the closer both are, the more (Ronneberger et al. 2015, arXiv:1505.04597, eq. 2)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Spacing, boxes_of, triple, widened
from keras_unet3d.labels.table import LabelTable
from keras_unet3d.volumes import Volume, in_threads, whole_numbers

# Where the two distances make more than so many sigma the weight stays 1: it would be more by 1 % of the largest.
_REACH = 3
# Edge of the blocks that are computed at a time, voxels.
_BLOCK = 64


def border_weights(label: Volume, table: LabelTable, largest: float, sigma: float, spacing: Spacing | None) -> Volume:
    """Return the weights 1 + largest * exp(-(d1 + d2)^2 / (2 sigma^2)) of a volume of instances, float32, made when read.

    d1 and d2 are the distances from a voxel's middle to the middle of the nearest voxel of the nearest and of the second
    nearest object, 0 within an object. What is unlabelled or background is none. From 3 sigma on the weight is 1.

    Args:
        label: raw label values.
        table: what they mean.
        largest: what is added to the weight where both distances are 0.
        sigma: voxels along the finest axis.
        spacing: size of the voxels (z, y, x), by which distances are measured; None where they are cubes.

    Raises:
        InputError: labels that are no instances.
    """
    if not table.of_instances:
        raise InputError(
            "border_weight: expected labels of instances, `target=cells` or `target=boundaries`, between which there are borders, "
            "found classes; leave it out."
        )
    size = np.ones(3) if spacing is None else np.asarray(spacing) / min(spacing)
    others = {*table.unlabelled, *((table.background_value,) if table.target == "cells" else ())}
    margin = triple((_REACH * sigma / size).astype(int).tolist())

    def weights(raw: np.ndarray, box: Box) -> tuple[Box, np.ndarray]:
        wider, inside = widened(box, triple(raw.shape), margin)
        near, far = two_nearest(raw[wider], ~np.isin(raw[wider], [*others]), inside, size, margin)
        apart = np.sqrt(near) + np.sqrt(far)
        return box, 1 + np.where(apart <= _REACH * sigma, largest * np.exp(-(apart**2) / (2 * sigma**2)), 0)

    def read(box: Box) -> np.ndarray:
        # The labels are read once: of what is packed every crop costs as much as all.
        wider, inside = widened(box, label.shape, margin)
        raw = whole_numbers(label.name, label.read(wider)[..., 0])
        result = np.empty(raw.shape, np.float32)
        first = [part.start for part in inside]
        asked = triple(part.stop - part.start for part in inside)
        blocks = (
            triple(slice(a + s.start, a + s.stop) for a, s in zip(first, block, strict=True))
            for block in boxes_of(asked, (_BLOCK,) * 3)
        )
        for block, values in in_threads(partial(weights, raw), blocks):
            result[block] = values
        return result[inside][..., None]

    # What is read is computed: whoever reads it again and again unpacks it first.
    return replace(label, name=f"border weights of {label.name}", dtype=np.dtype(np.float32), read=read, packed=True)


def two_nearest(
    labels: np.ndarray, is_object: np.ndarray, inside: Box, size: np.ndarray, reach: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared distances to the nearest and the second nearest object, float32, infinite where there is none.

    They are found axis by axis: the two nearest objects of a line are among the two nearest of the voxels on it.

    Args:
        labels: number of the object that each voxel belongs to `(z, y, x)`.
        is_object: whether it belongs to one.
        inside: the voxels that are asked about.
        size: of a voxel (z, y, x).
        reach: voxels (z, y, x) that are looked at in each direction; objects further than these may be missed.
    """
    near = np.where(is_object, np.float32(0), np.float32(np.inf))
    # Where a distance is infinite the object means nothing.
    far, of_near, of_far = near, labels, labels
    for axis, (asked, edge, most) in enumerate(zip(inside, size, reach, strict=True)):
        # In the first line a voxel has one object at most.
        known = ((near, of_near), (far, of_far))[: 2 if axis else 1]
        shape = [*near.shape]
        shape[axis] = asked.stop - asked.start
        best = [np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)]
        best += [np.zeros(shape, labels.dtype), np.zeros(shape, labels.dtype)]
        for step in range(-most, most + 1):
            first, stop = max(asked.start + step, 0), min(asked.stop + step, near.shape[axis])
            if first >= stop:
                continue
            source = (*(slice(None),) * axis, slice(first, stop))
            target = (*(slice(None),) * axis, slice(first - step - asked.start, stop - step - asked.start))
            for distance, of in known:
                _take([array[target] for array in best], distance[source] + np.float32((step * edge) ** 2), of[source])
        near, far, of_near, of_far = best
    return near, far


def _take(best: Sequence[np.ndarray], distance: np.ndarray, of: np.ndarray) -> None:
    """Put an object at a distance among the two nearest ones, in place: their distances, and which they are."""
    near, far, of_near, of_far = best
    is_nearest, is_other = distance < near, of != of_near
    # What is not the nearest, this one or the one before, may be the second; an object is not its own second.
    second = np.maximum(near, distance)
    is_second = is_other & (second <= far)
    np.copyto(far, second, where=is_second)
    np.copyto(of_far, np.where(is_nearest, of_near, of), where=is_second)
    np.copyto(near, distance, where=is_nearest)
    np.copyto(of_near, of, where=is_nearest)
