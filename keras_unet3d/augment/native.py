"""The native engine: a draw's map as small matrix products and one gather, in batch, on any Keras backend.

It means the same as the elasticdeform engine, with linear instead of cubic interpolation of the image, and is many
times as fast (`benchmarks/augment.py`): everything but the reading is one compiled function.

A sample comes as a dictionary of arrays, see `packed`. Its region, whose size differs from draw to draw, lies flat in a
buffer whose length is one of few, so that the function is compiled for few shapes.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from keras import ops

from keras_unet3d.augment import Arrays, grey
from keras_unet3d.augment.draw import Draw
from keras_unet3d.geometry import AXES, Triple, triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.machine import compiled
from keras_unet3d.machine.tensors import Tensor

# Control points per axis are filled up to a multiple of this.
_POINTS = 8
# Axes of the arrays of `packed` whose sizes differ from sample to sample.
_OPEN = {"image": (0,), "classes": (0,), "weight": (0,), "displacement": (1, 2, 3)}
_OPEN |= {f"along_{name}": (1,) for name in AXES}


def augment(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None) -> Arrays:
    """Return image, classes and weights of the patch, moved by the draw's map and changed; as `elastic.augment`."""
    image, classes, weight = _compiled()(_batch_of_one(packed(drawn, image, classes, weight)))
    return image[0], classes[0].astype(np.uint8), weight if weight is None else weight[0]


def _batch_of_one(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[None] for name, array in sample.items()}


@cache
def _compiled() -> Callable[..., Any]:
    return compiled.compiled_for_host(augmented)


def packed(
    drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None, complete: bool = False
) -> dict[str, np.ndarray]:
    """Return what `augmented` needs of one sample, without the batch axis.

    Args:
        drawn: of the sample.
        image: `(z, y, x, channels)`, float32, the region: the patch and `drawn.margin` on each side.
        classes: `(z, y, x)`, uint8.
        weight: `(z, y, x)`, float32, or None.
        complete: whether matrices that change nothing are included, so that all samples have the same entries.
    """
    size = classes.shape
    patch = triple(extent - 2 * margin for extent, margin in zip(size, drawn.margin, strict=True))
    # The next power of two above the number of voxels.
    length = 1 << (classes.size - 1).bit_length()
    points = drawn.displacement.shape[1:]
    filled = [_POINTS * -(-count // _POINTS) for count in points]
    arrays = {
        "image": _resized(image.reshape(-1, image.shape[-1]).astype(np.float32, copy=False), (length, image.shape[-1])),
        "classes": _resized(classes.ravel(), (length,)),
        "size": np.array(size, np.int32),
        "matrix": drawn.matrix.astype(np.float32),
        "displacement": _resized(drawn.displacement.astype(np.float32), (3, *filled)),
    }
    for name, along, count in zip(AXES, spline_weights(drawn, patch), filled, strict=True):
        arrays[f"along_{name}"] = _resized(along, (len(along), count))
    if weight is not None:
        arrays["weight"] = _resized(weight.astype(np.float32, copy=False).ravel(), (length,))
    unchanged = grey.unchanged_resolution(patch, image.shape[-1]) if complete else {}
    return arrays | unchanged | grey.arrays(drawn.grey, patch)


def stacked(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return complete samples of one patch size as a batch: every array as large as the largest of its kind."""
    together = {}
    for name in samples[0]:
        arrays = [sample[name] for sample in samples]
        shape = np.max([array.shape for array in arrays], axis=0).tolist()
        together[name] = np.stack([_resized(array, shape) for array in arrays])
    return together


def shape_of(name: str, array: np.ndarray) -> tuple[int | None, ...]:
    """Return the shape of an array of `packed`, None where it differs from sample to sample."""
    return tuple(None if axis in _OPEN.get(name, ()) else size for axis, size in enumerate(array.shape))


def source_positions(drawn: Draw, patch: Triple) -> np.ndarray:
    """Return where every voxel of a patch comes from, `(3, z, y, x)`, in voxels counted from the patch's first."""
    shape = tuple(extent + 2 * margin for extent, margin in zip(patch, drawn.margin, strict=True))
    batch = _batch_of_one(packed(drawn, np.zeros((*shape, 1), np.float32), np.zeros(shape, np.uint8), None))
    source = _source(batch, [_per_sample(batch["size"][:, axis]) for axis in range(3)])
    in_region = [ops.convert_to_numpy(position)[0] for position in source]
    return np.stack([position - margin for position, margin in zip(in_region, drawn.margin, strict=True)])


def _resized(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return `array` in the corner of a larger one; the rest of that is never read, or is multiplied by 0."""
    if array.shape == tuple(shape):
        return array
    larger = np.zeros(shape, array.dtype)
    larger[tuple(slice(0, size) for size in array.shape)] = array
    return larger


def spline_weights(drawn: Draw, patch: Triple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a matrix `(voxels, control points)` per axis: the cubic B-spline through the control points."""
    points = drawn.displacement.shape[1:]
    return triple(_spline_weights(*of_axis) for of_axis in zip(patch, drawn.margin, points, strict=True))


@lru_cache(1024)
def _spline_weights(size: int, margin: int, points: int) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    positions = (np.arange(size) + margin) * (points - 1) / max(size + 2 * margin - 1, 1)
    weights = [map_coordinates(point, positions[None], order=3, mode="mirror") for point in np.eye(points)]
    return np.stack(weights, axis=1).astype(np.float32)


def augmented(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return images, classes and weights of the patches of a batch: as `moved`, grey values changed."""
    image, classes, weight = moved(batch)
    return grey.change(image, batch), classes, weight


def moved(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return images, classes and weights of a batch of `packed` samples, moved by the draws' maps.

    Returns:
        image: `(batch, z, y, x, channels)` float32; voxels from outside the region are mirrored.
        classes: `(batch, z, y, x)` int32; `UNLABELLED` from outside.
        weight: `(batch, z, y, x)` float32, 0 from outside; None where the batch has none.
    """
    sizes = [_per_sample(batch["size"][:, axis]) for axis in range(3)]
    source = _source(batch, sizes)
    # Where each sample begins in the flattened batch.
    samples, length = ops.shape(batch["classes"])
    begin = _per_sample(ops.arange(samples, dtype="int32") * length)
    nearest, inside = _nearest(source, sizes)
    classes = ops.cast(_taken(batch["classes"], begin + nearest), "int32")
    classes = ops.where(inside, classes, UNLABELLED)
    weight = None
    if "weight" in batch:
        weight = ops.where(inside, _taken(batch["weight"], begin + nearest), 0.0)
    image = _linear(ops.reshape(batch["image"], [-1, batch["image"].shape[-1]]), source, sizes, begin)
    return image, classes, weight


def _per_sample(values: Tensor) -> Tensor:
    return ops.reshape(values, [-1, 1, 1, 1])


def _taken(values: Tensor, index: Tensor) -> Tensor:
    return ops.take(ops.reshape(values, [-1]), index)


def _source(batch: dict[str, Tensor], sizes: Sequence[Tensor]) -> list[Tensor]:
    """Return where every voxel of the patches comes from, voxels of the region: a tensor per axis."""
    along = [batch[f"along_{name}"] for name in AXES]
    # The largest product last, so that it writes its voxels in their order.
    moved = ops.einsum("ndabc,nza->ndzbc", batch["displacement"], along[0])
    moved = ops.einsum("ndzbc,nyb->ndzyc", moved, along[1])
    moved = ops.einsum("ndzyc,nxc->ndzyx", moved, along[2])
    centred = []
    for axis in range(3):
        extent = along[axis].shape[1]
        offsets = np.arange(extent, dtype=np.float32) - (extent - 1) / 2
        centred.append(offsets.reshape([1, *(-1 if other == axis else 1 for other in range(3))]))
    # The patch lies in the middle of the region, so that their centres are the same point.
    return [
        sum(_per_sample(batch["matrix"][:, axis, other]) * centred[other] for other in range(3))
        + moved[:, axis]
        + (ops.cast(sizes[axis], "float32") - 1) / 2
        for axis in range(3)
    ]


def _nearest(source: Sequence[Tensor], sizes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the flat index of the nearest voxel, and whether it is inside the region."""
    flat: Tensor = 0
    inside: Tensor = True
    for position, size in zip(source, sizes, strict=True):
        index = ops.cast(ops.floor(position + 0.5), "int32")
        inside = ops.logical_and(inside, ops.logical_and(index >= 0, index < size))
        flat = flat * size + ops.clip(index, 0, size - 1)
    return flat, inside


def _linear(voxels: Tensor, source: Sequence[Tensor], sizes: Sequence[Tensor], begin: Tensor) -> Tensor:
    """Return the image interpolated linearly, mirrored at the border of the region."""
    low, high, share = zip(*map(_neighbours, source, sizes), strict=True)
    total: Tensor = 0.0
    for z, of_z in ((low[0], 1 - share[0]), (high[0], share[0])):
        for y, of_y in ((low[1], 1 - share[1]), (high[1], share[1])):
            row = begin + (z * sizes[1] + y) * sizes[2]
            first, second = (ops.take(voxels, row + x, axis=0) for x in (low[2], high[2]))
            share_x = ops.expand_dims(share[2], -1)
            total += ops.expand_dims(of_z * of_y, -1) * (first + share_x * (second - first))
    return total


def _neighbours(position: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the voxels before and after a mirrored position along one axis, and the share of the latter."""
    last = ops.cast(size - 1, "float32")
    # Mirroring once at either end is enough: the region's margin is three standard deviations of the displacements.
    folded = ops.clip(last - ops.abs(last - ops.abs(position)), 0.0, last)
    before = ops.floor(folded)
    index = ops.cast(before, "int32")
    return index, ops.minimum(index + 1, size - 1), folded - before
