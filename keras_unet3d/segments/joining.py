"""Pieces joined to instances: by how much of a boundary their common faces are (average linkage on the region adjacency graph).

Source: GASP with average linkage (Bailoni et al. 2022, arXiv:1906.11713), as Wolny et al. 2020 (doi:10.7554/eLife.57613) use it.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_unet3d.geometry import Triple, beside_faces


@dataclass(frozen=True)
class Contacts:
    """Which pieces touch each other.

    Attributes:
        pairs: numbers of two pieces, `(pairs, 2)`, the smaller one first, in order.
        faces: faces of voxels that they have in common, `(pairs,)`.
        evidence: how much of a boundary these are, 0 to 255, summed, `(pairs,)`.
    """

    pairs: np.ndarray
    faces: np.ndarray
    evidence: np.ndarray


def contacts_of(pieces: np.ndarray, boundary: np.ndarray, own: Triple) -> Contacts:
    """Return the contacts in a part of a volume.

    Args:
        pieces: their numbers `(z, y, x)`; 0 is none. Behind the part they may go on by a voxel.
        boundary: how much of a boundary a voxel is, 0 to 255 `(z, y, x)`; of a face the more of its two voxels counts.
        own: size of the part. Of the voxels behind it the faces between them are left to others.
    """
    sides, evidence = [], []
    for axis in range(3):
        # Only along this axis a face may have a voxel behind the part.
        part = tuple(slice(None) if other == axis else slice(size) for other, size in enumerate(own))
        before, behind = beside_faces(axis)
        first, second = pieces[part][before], pieces[part][behind]
        touching = (first != second) & (first > 0) & (second > 0)
        sides.append(np.stack([first[touching], second[touching]], axis=1))
        evidence.append(np.maximum(boundary[part][before][touching], boundary[part][behind][touching]))
    pairs = np.concatenate(sides)
    return summed([Contacts(pairs, np.ones(len(pairs), np.int64), np.concatenate(evidence).astype(np.int64))])


def summed(parts: Iterable[Contacts]) -> Contacts:
    """Return the contacts of all parts, every pair once."""
    parts = list(parts)
    pairs = np.sort(np.concatenate([part.pairs for part in parts]), axis=1)
    numbers, places = np.unique(pairs, return_inverse=True)
    low, high = places.reshape(pairs.shape).T.astype(np.int64)
    codes, which = np.unique(low * max(len(numbers), 1) + high, return_inverse=True)
    faces, evidence = (
        np.bincount(which, np.concatenate([getattr(part, name) for part in parts]), len(codes)).astype(np.int64)
        for name in ("faces", "evidence")
    )
    low, high = np.divmod(codes, max(len(numbers), 1))
    return Contacts(np.stack([numbers[low], numbers[high]], axis=1), faces, evidence)


def joined(voxels: np.ndarray, contacts: Contacts, below: float, least: int) -> np.ndarray:
    """Return the instance of every piece: 1, 2, ... in the order of the pieces, 0 for what is too small and touches nothing.

    The two pieces that have least of a boundary between them are joined, and so on with what they become. Then what has fewer
    than `least` voxels is joined to what it has least of a boundary to. Where all is too small, all stays.

    Args:
        voxels: of every piece.
        contacts: between them; a piece's number is its place in `voxels`.
        below: where the mean of the common faces is as much of a boundary as this, pieces stay apart.
        least: voxels of an instance.
    """
    graph = _Graph(voxels, contacts)
    graph.join(below)
    graph.join_small(least)
    roots = np.array([graph.root(piece) for piece in range(len(voxels))], np.int64)
    large = graph.voxels[roots] >= least
    large |= not large.any()
    instances = np.zeros(len(voxels), np.int64)
    instances[large] = np.unique(roots[large], return_inverse=True)[1] + 1
    return instances


class _Graph:
    """Pieces and their contacts while they are joined; of two that are joined the one of more contacts stands for both."""

    def __init__(self, voxels: np.ndarray, contacts: Contacts) -> None:
        self.voxels = voxels.astype(np.int64)
        self.part_of = list(range(len(voxels)))
        # Piece -> the pieces that it touches, and evidence and faces of the contact, which both sides share.
        self.touching: list[dict[int, tuple[int, int]]] = [{} for _ in voxels]
        columns = (contacts.pairs.tolist(), contacts.faces.tolist(), contacts.evidence.tolist())
        for (low, high), count, total in zip(*columns, strict=True):
            self.touching[low][high] = self.touching[high][low] = (total, count)

    def root(self, piece: int) -> int:
        """Return the piece that stands for what a piece is part of."""
        while self.part_of[piece] != piece:
            self.part_of[piece] = self.part_of[self.part_of[piece]]
            piece = self.part_of[piece]
        return piece

    def join(self, most: float) -> None:
        """Join what has least of a boundary in between, until that is more than `most`."""
        waiting = [
            (total / count, low, high)
            for low, others in enumerate(self.touching)
            for high, (total, count) in others.items()
            if low < high and total / count < most
        ]
        heapq.heapify(waiting)
        while waiting:
            mean, low, high = heapq.heappop(waiting)
            contact = self.touching[low].get(high)
            # A contact that has changed since, or is no more, waits elsewhere.
            if contact is None or contact[0] / contact[1] != mean:
                continue
            for kept, other in self.unite(low, high):
                total, count = self.touching[kept][other]
                if total / count < most:
                    heapq.heappush(waiting, (total / count, min(kept, other), max(kept, other)))

    def join_small(self, least: int) -> None:
        """Join what has fewer voxels than `least` to what it has least of a boundary to, the smallest first."""
        waiting = [(int(size), piece) for piece, size in enumerate(self.voxels) if size < least]
        heapq.heapify(waiting)
        while waiting:
            size, piece = heapq.heappop(waiting)
            others = self.touching[piece]
            if self.part_of[piece] != piece or size != self.voxels[piece] or not others:
                continue
            nearest = min(others, key=lambda other: (others[other][0] / others[other][1], other))
            for _ in self.unite(piece, nearest):
                pass
            whole = self.root(piece)
            if self.voxels[whole] < least:
                heapq.heappush(waiting, (int(self.voxels[whole]), whole))

    def unite(self, one: int, two: int) -> Iterator[tuple[int, int]]:
        """Make one of two pieces, and yield it with every piece whose contact with it has changed."""
        kept, gone = (one, two) if len(self.touching[one]) >= len(self.touching[two]) else (two, one)
        self.part_of[gone] = kept
        self.voxels[kept] += self.voxels[gone]
        del self.touching[kept][gone]
        lost, self.touching[gone] = self.touching[gone], {}
        del lost[kept]
        for other, (total, count) in lost.items():
            before_total, before_count = self.touching[kept].get(other, (0, 0))
            del self.touching[other][gone]
            self.touching[kept][other] = self.touching[other][kept] = (total + before_total, count + before_count)
            yield kept, other
