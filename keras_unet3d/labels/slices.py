"""Which planes of a volume somebody annotated."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from keras_unet3d.geometry import Box
from keras_unet3d.labels.survey import per_plane
from keras_unet3d.labels.table import UNLABELLED
from keras_unet3d.volumes import Volume, in_threads

# A plane counts as annotated if it holds this share of what the fullest plane holds: where slices of two
# directions cross, a plane has a few labelled voxels that belong to another.
_SHARE = 0.15


@dataclass(frozen=True)
class AnnotatedSlices:
    """The annotated planes across z, y and x, in order; "dense" where every plane is.

    Attributes:
        z, y, x: indices.
        dense: whether (nearly) all planes of every axis are annotated.
    """

    z: tuple[int, ...]
    y: tuple[int, ...]
    x: tuple[int, ...]
    dense: bool

    @property
    def per_axis(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The indices across z, y and x."""
        return self.z, self.y, self.x

    def shown(self) -> str:
        """Return the slices for people: "z 8, 20, 31; y 24, 62"."""
        if self.dense:
            return "dense"
        parts = [f"{axis} {_ranges(planes)}" for axis, planes in zip("zyx", self.per_axis, strict=True) if planes]
        return "; ".join(parts) or "no whole slices, scattered voxels"


def annotated_slices(classes: Volume) -> AnnotatedSlices:
    """Return the annotated planes of a class volume, read once in blocks.

    A voxel counts for a plane if it and its four neighbours in the plane are labelled. The voxels along the line where
    the plane crosses a slice of another direction therefore do not. What is outside of a block counts as labelled: a line at
    its border still has an unlabelled neighbour within.
    """
    inside = [np.zeros(size, np.int64) for size in classes.shape]
    for box, counts in in_threads(partial(_inside, classes), classes.boxes()):
        for total, part, count in zip(inside, box, counts, strict=True):
            total[part] += count
    shares = [total * total.size / np.prod(classes.shape) for total in inside]
    least = max(_SHARE * max(share.max() for share in shares), 1e-12)
    z, y, x = (tuple(np.flatnonzero(share >= least).tolist()) for share in shares)
    dense = all(len(planes) > 0.9 * size for planes, size in zip((z, y, x), classes.shape, strict=True))
    return AnnotatedSlices(z, y, x, dense)


def _inside(classes: Volume, box: Box) -> tuple[Box, list[np.ndarray]]:
    """Return how many voxels of a box count for every plane across z, y and x."""
    labelled = classes.read(box)[..., 0] != UNLABELLED
    if labelled.all() or not labelled.any():
        return box, [np.full(size, int(labelled.flat[0]) * labelled.size // size) for size in labelled.shape]
    along = [_with_neighbours(labelled, axis) for axis in range(3)]
    # Across an axis, the neighbours along the other two.
    held = [along[1] & along[2], along[0] & along[2], along[0] & along[1]]
    return box, [per_plane(both)[axis] for axis, both in enumerate(held)]


def _with_neighbours(labelled: np.ndarray, axis: int) -> np.ndarray:
    """Return where a voxel and its two neighbours along `axis` are labelled; outside counts as labelled."""
    padded = np.pad(labelled, [(1, 1) if other == axis else (0, 0) for other in range(3)], constant_values=True)
    before, after = (
        tuple(slice(first, first + labelled.shape[axis]) if other == axis else slice(None) for other in range(3))
        for first in (0, 2)
    )
    return labelled & padded[before] & padded[after]


def _ranges(planes: Sequence[int]) -> str:
    """Return "3, 7-12, 20" for planes in order."""
    parts, first = [], None
    for plane, following in zip(planes, (*planes[1:], None), strict=True):
        first = plane if first is None else first
        if following != plane + 1:
            parts.append(str(plane) if first == plane else f"{first}-{plane}")
            first = None
    return ", ".join(parts)
