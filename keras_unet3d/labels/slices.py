"""Which planes of a volume somebody annotated."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.labels.table import UNLABELLED
from keras_unet3d.volumes import Volume

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

    A voxel speaks for a plane if it and its four neighbours in the plane are labelled, so that the line along
    which a slice of another direction is crossed does not.
    """
    inside = [np.zeros(size, np.int64) for size in classes.shape]
    for box in classes.boxes():
        wider = tuple(slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(box, classes.shape, strict=True))
        labelled = classes.read(wider)[..., 0] != UNLABELLED
        own = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wider, strict=True))
        along = [_with_neighbours(labelled, axis) for axis in range(3)]
        for axis, total in enumerate(inside):
            first, second = (along[other] for other in range(3) if other != axis)
            others = tuple(other for other in range(3) if other != axis)
            total[box[axis]] += (first & second)[own].sum(axis=others)
    shares = [total * total.size / np.prod(classes.shape) for total in inside]
    least = max(_SHARE * max(share.max() for share in shares), 1e-12)
    planes = [tuple(np.flatnonzero(share >= least).tolist()) for share in shares]
    dense = all(len(found) > 0.9 * size for found, size in zip(planes, classes.shape, strict=True))
    return AnnotatedSlices(*planes, dense)


def _with_neighbours(labelled: np.ndarray, axis: int) -> np.ndarray:
    """Return where a voxel and its two neighbours along `axis` are labelled; outside the volume counts as labelled."""
    padded = np.pad(labelled, [(1, 1) if other == axis else (0, 0) for other in range(3)], constant_values=True)
    before, after = (
        tuple(slice(first, first + labelled.shape[axis]) if other == axis else slice(None) for other in range(3))
        for first in (0, 2)
    )
    return labelled & padded[before] & padded[after]


def _ranges(planes) -> str:
    """Return "3, 7-12, 20" for planes in order."""
    parts, first = [], None
    for plane, following in zip(planes, (*planes[1:], None), strict=True):
        first = plane if first is None else first
        if following != plane + 1:
            parts.append(str(plane) if first == plane else f"{first}-{plane}")
            first = None
    return ", ".join(parts)
