"""The native engine: the draw's map as small matrix products and one gather, on any Keras backend.

It means the same as the elasticdeform engine, with linear instead of cubic interpolation of the image, and is several
times as fast (`benchmarks/augment.py`).
"""

from functools import cache, lru_cache

import numpy as np
from keras import ops

from keras_unet3d import runtime
from keras_unet3d.augment.draw import Draw
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import UNLABELLED


def warp(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None):
    """Return image, classes and weights of the patch, moved by the draw's map; as `elastic.warp`."""
    patch = tuple(size - 2 * margin for size, margin in zip(classes.shape, drawn.margin, strict=True))
    weights = np.zeros(classes.shape, np.float32) if weight is None else weight.astype(np.float32, copy=False)
    moved = _compiled()(
        image,
        classes.astype(np.int32),
        weights,
        drawn.matrix.astype(np.float32),
        drawn.displacement.astype(np.float32),
        *spline_weights(drawn, patch),
    )
    image, classes, weights = (np.asarray(ops.convert_to_numpy(part)) for part in moved)
    return image, classes.astype(np.uint8), None if weight is None else weights


@cache
def _compiled():
    return runtime.graph_function(warp_region)


def spline_weights(drawn: Draw, patch: Triple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a matrix `(voxels, control points)` per axis: the cubic B-spline through the control points."""
    points = drawn.displacement.shape[1:]
    return tuple(_spline_weights(*each) for each in zip(patch, drawn.margin, points, strict=True))


@lru_cache(1024)
def _spline_weights(size: int, margin: int, points: int) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    positions = (np.arange(size) + margin) * (points - 1) / max(size + 2 * margin - 1, 1)
    each = [map_coordinates(one, positions[None], order=3, mode="mirror") for one in np.eye(points)]
    return np.stack(each, axis=1).astype(np.float32)


def warp_region(image, classes, weights, matrix, displacement, along_z, along_y, along_x):
    """Return image, classes and weights of a patch, tensors in and out.

    Args:
        image: `(z, y, x, channels)` float32, the region: the patch and as many voxels on either side of it.
        classes: `(z, y, x)` int32.
        weights: `(z, y, x)` float32.
        matrix: `(3, 3)`, from voxels of the patch to voxels of the source, about the patch's centre.
        displacement: `(3, gz, gy, gx)` control points.
        along_z, along_y, along_x: see `spline_weights`.
    """
    moved = ops.einsum("dabx,yb->dayx", ops.einsum("dabc,xc->dabx", displacement, along_x), along_y)
    moved = ops.einsum("dayx,za->dzyx", moved, along_z)
    centred = []
    for axis, along in enumerate((along_z, along_y, along_x)):
        size = ops.shape(along)[0]
        offsets = ops.cast(ops.arange(size), "float32") - (ops.cast(size, "float32") - 1) / 2
        centred.append(ops.reshape(offsets, [-1 if other == axis else 1 for other in range(3)]))
    sizes = ops.shape(classes)
    # The patch lies in the middle of the region, so that their centres are the same point.
    source = [
        sum(matrix[axis, other] * centred[other] for other in range(3))
        + moved[axis]
        + (ops.cast(sizes[axis], "float32") - 1) / 2
        for axis in range(3)
    ]
    nearest, inside = _nearest(source, sizes)
    classes = ops.where(inside, ops.take(ops.reshape(classes, [-1]), nearest), UNLABELLED)
    weights = ops.where(inside, ops.take(ops.reshape(weights, [-1]), nearest), 0.0)
    return _linear(image, source, sizes), classes, weights


def _nearest(source, sizes):
    """Return the flat index of the nearest voxel, and whether it is inside the region."""
    flat, inside = 0, True
    for position, size in zip(source, sizes, strict=True):
        index = ops.cast(ops.floor(position + 0.5), "int32")
        inside = ops.logical_and(inside, ops.logical_and(index >= 0, index < size))
        flat = flat * size + ops.clip(index, 0, size - 1)
    return flat, inside


def _linear(image, source, sizes):
    """Return the image interpolated linearly, mirrored at the border of the region."""
    voxels = ops.reshape(image, [-1, ops.shape(image)[-1]])
    low, high, share = zip(*(_neighbours(*each) for each in zip(source, sizes, strict=True)), strict=True)
    total = 0.0
    for z, of_z in ((low[0], 1 - share[0]), (high[0], share[0])):
        for y, of_y in ((low[1], 1 - share[1]), (high[1], share[1])):
            row = (z * sizes[1] + y) * sizes[2]
            first, second = (ops.take(voxels, row + x, axis=0) for x in (low[2], high[2]))
            share_x = ops.expand_dims(share[2], -1)
            total += ops.expand_dims(of_z * of_y, -1) * (first + share_x * (second - first))
    return total


def _neighbours(position, size):
    """Return the voxels before and after a mirrored position along one axis, and the share of the latter."""
    last = ops.cast(size - 1, "float32")
    folded = last - ops.abs(ops.mod(position, ops.maximum(2 * last, 1.0)) - last)
    before = ops.floor(folded)
    index = ops.clip(ops.cast(before, "int32"), 0, size - 1)
    return index, ops.minimum(index + 1, size - 1), folded - before
