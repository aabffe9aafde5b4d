"""A volume in small pieces, each around one peak of the distance from boundaries: what instances are put together from.

Every voxel climbs to the highest of its neighbours, and so on up to a peak; voxels of one peak are a piece. What a voxel does
depends on nothing but its surroundings, so that a volume in blocks has the same pieces as in one go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from keras_unet3d.geometry import Box, Spacing, Triple, beside_faces, triple, widened

# Distances are told up to so many voxels of the finest axis: what is farther than this from a voxel does not matter to it.
_FARTHEST = 16.0
# Where a Gaussian ends, in standard deviations.
_TRUNCATE = 3.0

# A box of the volume -> how much of a boundary a voxel is, 0 to 255 `(z, y, x)`, and whether it is of an instance at all.
Read = Callable[[Box], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Relief:
    """How high voxels are: the smoothed distance from boundaries, less how much of a boundary a voxel is.

    Attributes:
        threshold: from which on, of 0 to 255, a voxel is a boundary.
        smoothing: standard deviation of the smoothing, in voxels of the finest axis.
        spacing: voxel size (z, y, x), the finest edge 1.
    """

    threshold: int
    smoothing: float
    spacing: Spacing

    @property
    def reach(self) -> Triple:
        """Voxels around a box that decide how high those in it are."""
        return triple(
            int(np.ceil(_FARTHEST / edge)) + int(_TRUNCATE * self.smoothing / edge + 0.5) for edge in self.spacing
        )

    def of(self, boundary: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return how high voxels `(z, y, x)` are, float32; those outside of all instances are at minus infinity."""
        from scipy import ndimage

        free = inside & (boundary < self.threshold)
        distance = np.full(boundary.shape, _FARTHEST, np.float32)
        if not free.all():
            np.minimum(distance, ndimage.distance_transform_edt(free, sampling=self.spacing), out=distance)
        sigma = [self.smoothing / edge for edge in self.spacing]
        smooth = ndimage.gaussian_filter(distance, sigma, mode="nearest", truncate=_TRUNCATE)
        return np.where(inside, smooth - boundary / np.float32(255), np.float32(-np.inf))


@dataclass(frozen=True)
class Pieces:
    """The pieces of a box.

    Attributes:
        numbers: in order.
        voxels: of every piece in the box.
        leaving: numbers of those whose peak is elsewhere: the number of a voxel of the same piece in another box.
    """

    numbers: np.ndarray
    voxels: np.ndarray
    leaving: np.ndarray


def number_type(shape: Triple) -> np.dtype:
    """Return the type that holds the number of a piece of such a volume."""
    return np.min_scalar_type(prod(shape))


def pieces_of(box: Box, shape: Triple, read: Read, relief: Relief) -> tuple[np.ndarray, Pieces]:
    """Return the number of the piece of every voxel of a box, and its pieces.

    The number of a piece is that of its peak in the order of the volume's voxels, from 1 on; 0 is outside of all instances.
    Where voxels of a box climb out of it, their number is that of the first voxel outside, which belongs to the same piece.

    Args:
        box: the part of the volume, all of it or a block.
        shape: of the volume.
        read: the volume.
        relief: what is climbed.
    """
    near, core = widened(box, shape)
    wide, within = widened(near, shape, relief.reach)
    boundary, inside = read(wide)
    high, kind = relief.of(boundary, inside)[within], number_type(shape)
    elsewhere = np.ones(high.shape, bool)
    elsewhere[core] = False
    tops = _tops(high, elsewhere)[core]
    voxels = np.bincount(tops[inside[within][core]], minlength=high.size)
    held = np.flatnonzero(voxels)
    places = np.unravel_index(held, high.shape)
    numbers = np.ravel_multi_index([place + side.start for place, side in zip(places, near, strict=True)], shape) + 1
    number = np.zeros(high.size, kind)
    number[held] = numbers
    leaving = numbers[elsewhere.ravel()[held]]
    pieces = Pieces(numbers.astype(kind), voxels[held], leaving.astype(kind))
    return np.where(np.isfinite(high[core]), number[tops], kind.type(0)), pieces


def _tops(high: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    """Return where every voxel climbs to, as flat indices: a peak, or a voxel that is `elsewhere`, where it stops."""
    above = np.arange(high.size, dtype=np.int32 if high.size < 2**31 else np.int64).reshape(high.shape)
    own, best = above.copy(), high.copy()
    # Of equally high neighbours a later one counts as higher, so that no voxel climbs in a circle.
    for behind, axis in ((False, 0), (False, 1), (False, 2), (True, 2), (True, 1), (True, 0)):
        before, after = beside_faces(axis)
        here, there = (before, after) if behind else (after, before)
        higher = high[there] >= best[here] if behind else high[there] > best[here]
        best[here][higher] = high[there][higher]
        above[here][higher] = own[there][higher]
    above[elsewhere] = own[elsewhere]
    above = above.ravel()
    while True:
        higher = above[above]
        if np.array_equal(higher, above):
            return above.reshape(high.shape)
        above = higher
