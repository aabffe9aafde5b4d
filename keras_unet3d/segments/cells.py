"""Instances along predicted boundaries: pieces of the volume, joined where there is little of a boundary between them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked, validated
from keras_unet3d.geometry import Box, Spacing, Triple, triple, widened
from keras_unet3d.segments.cleaning import refuse_other_axes
from keras_unet3d.segments.joining import Contacts, contacts_of, joined, summed
from keras_unet3d.segments.pieces import Pieces, Relief, pieces_of
from keras_unet3d.words import plural

# Evidence is told in so many steps: a byte per voxel, and sums that do not depend on their order.
CERTAIN = 255


@dataclass(frozen=True, kw_only=True)
class InstanceSettings(Validated):
    """How instances are cut out of what a network says.

    Attributes:
        threshold: from which probability on a voxel is a boundary where distances from boundaries are measured.
        smoothing: standard deviation, in voxels of the finest axis, by which these distances are smoothed.
        join_below: pieces are joined while the mean probability of a boundary on their common faces is below this.
        least: voxels of an instance; a smaller one is joined to a neighbour, or where it has none becomes background.
    """

    WHAT = "the settings of instances"

    threshold: float = checked(0.5, least=0)
    smoothing: float = checked(1.0, least=0)
    join_below: float = checked(0.8, least=0)
    least: int = checked(100, least=1)

    def faults(self) -> Iterator[str]:
        for name in ("threshold", "join_below"):
            if not 0 < getattr(self, name) < 1:
                yield f"{name}: expected a number between 0 and 1, found {getattr(self, name)}."

    def in_words(self) -> str:
        """Return "a boundary from 0.5 on, distances smoothed (deviation 1, in voxels), pieces joined below ..."."""
        return (
            f"a boundary from {self.threshold:g} on, distances smoothed (deviation {self.smoothing:g}, in voxels), pieces joined "
            f"below {self.join_below:g}, at least {plural(self.least, 'voxel')}"
        )


# Target -> how instances are cut unless something else was found to be better. On a background most of the boundary that a cell
# has is towards that, and where two touch there is less of it.
USUAL = {"boundaries": InstanceSettings(), "cells": InstanceSettings(join_below=0.4)}


def evidence(probabilities: np.ndarray) -> np.ndarray:
    """Return what instances are cut by, of a network's probabilities `(z, y, x, classes)`: a byte per voxel and channel.

    Of two classes (interior, boundary) it is that of a boundary, `(z, y, x, 1)`; of three (background, inside, boundary)
    also that of being in an instance at all, `(z, y, x, 2)`.
    """
    inside = [1 - probabilities[..., 0]] if probabilities.shape[-1] > 2 else []
    return _in_bytes([probabilities[..., -1], *inside])


def _in_bytes(channels: Sequence[np.ndarray]) -> np.ndarray:
    return np.round(np.stack(channels, axis=-1) * CERTAIN).astype(np.uint8)


@validated
def instances(
    boundary: np.ndarray,
    foreground: np.ndarray | None = None,
    *,
    spacing: Sequence[float] | np.ndarray | None = None,
    settings: InstanceSettings | None = None,
) -> np.ndarray:
    """Return instances 1, 2, ... `(z, y, x)` in the smallest unsigned type, 0 where the foreground is none.

    Args:
        boundary: probability of being a boundary, `(z, y, x)`, 0 to 1.
        foreground: probability of being in an instance, its boundary included, `(z, y, x)`, 0 to 1; None where instances cover
            the volume.
        spacing: voxel size (z, y, x), any unit; None for cubic voxels.
        settings: how; None takes the usual ones.

    Raises:
        InputError: a `ValueError`: no arrays of numbers, another number of axes, probabilities outside 0 to 1, a spacing that is
            not three positive numbers.

    Source: pieces around the peaks of the distance from boundaries, joined by average linkage, as Wolny et al. 2020
    (doi:10.7554/eLife.57613) do.
    """
    given = [np.asarray(array) for array in (boundary, foreground) if array is not None]
    shape = given[0].shape
    for array in given:
        refuse_other_axes(array, "instances")
        if array.shape != shape:
            raise InputError(f"instances: expected a foreground of shape {shape}, found {array.shape}.")
        if array.dtype.kind not in "biuf":
            raise InputError(f"instances: expected probabilities, numbers from 0 to 1, found {array.dtype}.")
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise InputError(
                f"instances: expected probabilities from 0 to 1, found {array.min():.3g} to {array.max():.3g}."
            )
    if not given[0].size:
        return np.zeros(shape, np.uint8)
    usual = USUAL["boundaries" if foreground is None else "cells"]
    return instances_of(_in_bytes(given), spacing, settings or usual)


def instances_of(
    certain: np.ndarray, spacing: Sequence[float] | np.ndarray | None, settings: InstanceSettings
) -> np.ndarray:
    """Return what `instances` returns, of what `evidence` does."""
    return Cut(triple(certain.shape[:3]), certain.__getitem__, voxel_edges(spacing), settings).whole()


def voxel_edges(spacing: Sequence[float] | np.ndarray | None) -> Spacing:
    """Return the edges of a voxel, the finest being 1; raises `InputError` where they are not three positive numbers."""
    edges = np.ones(3) if spacing is None else np.asarray(spacing, float)
    if edges.shape != (3,) or not (np.isfinite(edges) & (edges > 0)).all():
        raise InputError(f"instances: expected a spacing of three numbers above 0, found {spacing}.")
    return triple((edges / edges.min()).tolist())


@dataclass(frozen=True)
class Cut:
    """A volume that is cut into instances, in one go or block by block.

    Attributes:
        shape: of the volume.
        evidence: box of the volume -> what `evidence` returns.
        edges: of a voxel, see `voxel_edges`.
        settings: how.
    """

    shape: Triple
    evidence: Callable[[Box], np.ndarray]
    edges: Spacing
    settings: InstanceSettings

    def whole(self) -> np.ndarray:
        """Return the instances of the volume, all of it in memory."""
        numbers, pieces, contacts = self.in_pieces()
        return Instances.of([pieces], [contacts], self.settings)(numbers)

    def in_pieces(self) -> tuple[np.ndarray, Pieces, Contacts]:
        """Return the number of the piece of every voxel of the volume, its pieces, and their contacts."""
        box = triple(slice(0, size) for size in self.shape)
        numbers, pieces = self.pieces(box)
        return numbers, pieces, self.contacts(box, lambda _: numbers)

    def pieces(self, box: Box) -> tuple[np.ndarray, Pieces]:
        """Return the number of the piece of every voxel of a box, and its pieces."""
        relief = Relief(round(self.settings.threshold * CERTAIN), self.settings.smoothing, self.edges)
        return pieces_of(box, self.shape, self._read, relief)

    def contacts(self, box: Box, pieces: Callable[[Box], np.ndarray]) -> Contacts:
        """Return the contacts of a box, with those to the box behind it along every axis."""
        wider, _ = widened(box, self.shape)
        begun = triple(slice(part.start, more.stop) for part, more in zip(box, wider, strict=True))
        return contacts_of(pieces(begun), self.evidence(begun)[..., 0], triple(part.stop - part.start for part in box))

    def _read(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        certain = self.evidence(box)
        inside = np.ones(certain.shape[:3], bool) if certain.shape[3] < 2 else certain[..., 1] > CERTAIN // 2
        return certain[..., 0], inside


@dataclass(frozen=True)
class Instances:
    """Which instance every piece is part of; called with the numbers of pieces it returns instances.

    Attributes:
        pieces: their numbers, in order, from 0 for none on.
        instances: of every piece, 0 for none.
    """

    pieces: np.ndarray
    instances: np.ndarray

    @staticmethod
    def of(
        pieces: Sequence[Pieces],
        contacts: Sequence[Contacts],
        settings: InstanceSettings,
        continued: Callable[[np.ndarray], np.ndarray] = lambda leaving: leaving,
    ) -> "Instances":
        """Return the instances that the pieces of all boxes are joined to.

        Args:
            pieces, contacts: of all boxes.
            settings: how.
            continued: numbers of pieces that leave a box -> the number of the piece at that voxel.
        """
        known, first = np.unique(np.concatenate([part.numbers for part in pieces]), return_inverse=True)
        voxels = np.bincount(first, np.concatenate([part.voxels for part in pieces]), len(known)).astype(np.int64)
        leaving = np.unique(np.concatenate([part.leaving for part in pieces]))
        whole = np.arange(len(known))
        whole[np.searchsorted(known, leaving)] = np.searchsorted(known, continued(leaving))
        # A piece may run through several boxes.
        while not np.array_equal(whole[whole], whole):
            whole = whole[whole]
        peaks, place = np.unique(whole, return_inverse=True)
        together = summed(contacts)
        of_peaks = place[np.searchsorted(known, together.pairs)]
        between = of_peaks[:, 0] != of_peaks[:, 1]
        together = summed([Contacts(of_peaks[between], together.faces[between], together.evidence[between])])
        of_piece = joined(
            np.bincount(place, voxels, len(peaks)), together, settings.join_below * CERTAIN, settings.least
        )[place]
        kind = np.min_scalar_type(int(of_piece.max(initial=0)))
        return Instances(np.append(known.dtype.type(0), known), np.append(0, of_piece).astype(kind))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the instance of every voxel of a box, of the numbers of its pieces."""
        return self.instances[np.searchsorted(self.pieces, numbers)]
