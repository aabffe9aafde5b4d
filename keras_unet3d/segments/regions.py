"""A label volume as a graph: its regions, each connected by faces and of one label, and how many faces two of them share.

A volume is read in slabs of whole planes. The regions of a slab are its parts; parts of one label that meet between two slabs
are one region. The memory that it takes is that of a slab and of the graph, which grows with the parts and not with the voxels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_unet3d.geometry import Box, Triple, beside_faces, boxes_of

if TYPE_CHECKING:
    from scipy.sparse import coo_array

# Voxels of a slab, where so many planes have no more: thinner slabs cut every region into many parts, which the graph holds.
SLAB, FEWEST_PLANES = 2**23, 8


@dataclass(frozen=True)
class Regions:
    """The regions of a volume, in the order of their first voxels.

    Attributes:
        labels: of every region.
        voxels: of every region.
        is_open: whether a region touches a side of the volume.
        faces: how many faces two regions have in common, a square matrix; a pair is above or below the diagonal, or both.
        of_part: the region of every part, slab after slab.
    """

    labels: np.ndarray
    voxels: np.ndarray
    is_open: np.ndarray
    faces: "coo_array"
    of_part: np.ndarray

    def relabelled(self, labels: np.ndarray) -> "Regions":
        """Return the regions that there are once these have other labels: what is of one label and touches becomes one."""
        low, high, faces = self.faces.row, self.faces.col, self.faces.data
        same = labels[low] == labels[high]
        count, region = _connected(low[same], high[same], len(labels))
        of_region = np.empty(count, labels.dtype)
        of_region[region] = labels
        apart = ~same
        return Regions(
            of_region,
            np.bincount(region, self.voxels, count).astype(np.int64),
            np.bincount(region, self.is_open, count) > 0,
            _summed(region[low[apart]], region[high[apart]], (count, count), faces[apart]),
            region[self.of_part],
        )


@dataclass(frozen=True)
class Slab:
    """Some planes of a volume.

    Attributes:
        numbers: the part of every voxel, 0, 1, ... `(z, y, x)`.
        labels: of every part.
        voxels: of every part.
    """

    numbers: np.ndarray
    labels: np.ndarray
    voxels: np.ndarray

    @staticmethod
    def of(labels: np.ndarray) -> "Slab":
        """Return the parts of labels `(z, y, x)`, in the order of their first voxels."""
        # What is connected are runs of equal voxels along x, of which there are far fewer than voxels.
        begins = np.ones(labels.shape, bool)
        np.not_equal(labels[..., 1:], labels[..., :-1], out=begins[..., 1:])
        first = np.flatnonzero(begins)
        runs = (np.cumsum(begins, dtype=np.int32) - 1).reshape(labels.shape)
        low, high = [], []
        for before, behind in map(beside_faces, (0, 1)):
            # Where two runs lie beside each other, one of them begins.
            meet = (labels[before] == labels[behind]) & (begins[before] | begins[behind])
            low.append(runs[before][meet])
            high.append(runs[behind][meet])
        count, part = _connected(np.concatenate(low), np.concatenate(high), len(first))
        of_part = np.empty(count, labels.dtype)
        of_part[part] = labels.ravel()[first]
        lengths = np.diff(first, append=labels.size)
        return Slab(part[runs], of_part, np.bincount(part, lengths, count).astype(np.int64))

    def faces(self) -> "coo_array":
        """Return how many faces two parts have in common."""
        low, high = [], []
        for before, behind in map(beside_faces, range(3)):
            differ = self.numbers[before] != self.numbers[behind]
            low.append(self.numbers[before][differ])
            high.append(self.numbers[behind][differ])
        return _summed(np.concatenate(low), np.concatenate(high), (len(self.labels),) * 2)

    def faces_to(self, behind: "Slab") -> "coo_array":
        """Return how many faces parts have in common with those of the slab behind it."""
        return _summed(self.numbers[-1].ravel(), behind.numbers[0].ravel(), (len(self.labels), len(behind.labels)))

    def is_open(self, is_first: bool, is_last: bool) -> np.ndarray:
        """Return which parts touch a side of the volume."""
        numbers, result = self.numbers, np.zeros(len(self.labels), bool)
        ends = [numbers[:1]] * is_first + [numbers[-1:]] * is_last
        for side in (numbers[:, 0], numbers[:, -1], numbers[..., 0], numbers[..., -1], *ends):
            result[side.ravel()] = True
        return result


def slab_boxes(shape: Triple) -> Iterator[Box]:
    """Yield where the slabs of a volume are."""
    _, y, x = shape
    return boxes_of(shape, (max(FEWEST_PLANES, SLAB // (y * x)), y, x))


def regions_of(slabs: Iterable[Slab], count: int) -> Regions:
    """Return the regions of a volume of so many slabs, which are looked at one after the other."""
    from scipy.sparse import coo_array

    labels, voxels, is_open, faces = [], [], [], []
    first, before = 0, None
    for number, slab in enumerate(slabs):
        labels.append(slab.labels)
        voxels.append(slab.voxels)
        is_open.append(slab.is_open(number == 0, number == count - 1))
        faces.append(_moved(slab.faces(), first, first))
        if before is not None:
            faces.append(_moved(before.faces_to(slab), first - len(before.labels), first))
        first, before = first + len(slab.labels), slab
    data, low, high = map(np.concatenate, zip(*faces, strict=True))
    graph = coo_array((data, (low, high)), shape=(first, first))
    of_part = np.concatenate(labels)
    parts = Regions(of_part, np.concatenate(voxels), np.concatenate(is_open), graph, np.arange(first))
    return parts.relabelled(of_part)


def _moved(faces: "coo_array", down: int, right: int) -> Sequence[np.ndarray]:
    """Return entries, rows and columns of a matrix within a larger one."""
    return faces.data, faces.row.astype(np.int64) + down, faces.col.astype(np.int64) + right


def _connected(low: np.ndarray, high: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """Return how many components a graph has, and the component of each of its `count` nodes, in the order of the first nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    return connected_components(coo_array((np.ones(len(low), bool), (low, high)), shape=(count, count)), directed=False)


def _summed(low: np.ndarray, high: np.ndarray, shape: tuple[int, int], faces: np.ndarray | None = None) -> "coo_array":
    """Return a matrix of faces; a pair that comes again is added."""
    from scipy.sparse import coo_array

    faces = np.ones(len(low), np.int64) if faces is None else faces
    return coo_array((faces, (low, high)), shape=shape).tocsr().tocoo()
