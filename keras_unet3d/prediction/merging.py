"""The two ways to make a volume of tiles: which voxels a tile decides, and how what tiles say is put together.

exact   ├──── kept ────┤context┤                 every voxel comes from the one tile that saw all that decides it;
                   ├context┤─ kept ─┤context┤    at the volume's border there is nothing more to see
                              ├context┤─ kept ──┤
blend   ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤             every voxel is the weighted mean of all tiles that reach it;
                  ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤   a tile's edges, which saw least, weigh least
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import ceil

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Box, Geometry


@dataclass(frozen=True)
class Cut:
    """A tile along one axis.

    Attributes:
        start: first voxel that its output stands for.
        first, stop: the voxels of the volume that it decides, or has a part in.
        weights: its part in each of them; None where it decides alone.
    """

    start: int
    first: int
    stop: int
    weights: np.ndarray | None = field(default=None, repr=False, compare=False)

    def within(self, first: int, stop: int) -> "Cut | None":
        """Return what is left of it between two voxels, None for nothing."""
        a, b = max(first, self.first), min(stop, self.stop)
        if a >= b:
            return None
        weights = None if self.weights is None else self.weights[a - self.first : b - self.first]
        return replace(self, first=a, stop=b, weights=weights)


Tile = tuple[Cut, Cut, Cut]
Cuts = tuple[tuple[Cut, ...], tuple[Cut, ...], tuple[Cut, ...]]
# A tile and the network's output for it.
Answer = tuple[Tile, np.ndarray]


@dataclass(frozen=True)
class Exact:
    """As one pass over the whole volume: every voxel comes from a tile that saw all that decides it.

    Attributes:
        name: the user's word for it.
        in_words: what is said of a volume that was made in this way.
        may_be_thin: whether a side of a tile may be much shorter than the others.
        tiles_per_block: tiles along an axis of a block that is computed apart.
    """

    name = "exact"
    in_words = "merged exactly"
    # A thin tile has all its context.
    may_be_thin = True
    tiles_per_block = 1

    def cuts(self, size: int, tile: int, geometry: Geometry, axis: int, uniform: bool) -> Iterator[Cut]:
        """Yield the tiles along one axis of `size` voxels; `uniform` ones all decide as many."""
        output, padded = _sizes(size, tile, geometry, axis)
        if output >= padded:
            yield Cut(0, 0, size)
            return
        context, divisor = geometry.context[axis], geometry.divisor[axis]
        inner = (output - 2 * context) // divisor * divisor
        if inner < divisor:
            least = geometry.legal_at_least(2 * (context + geometry.margin[axis]) + divisor, axis)
            raise InputError(
                f"tile: expected at least {least} along {AXES[axis]}, found {tile}: a voxel depends on up to {context} "
                "voxels to each side; take a larger tile, or `merge=blend`."
            )
        first, stop = 0, inner if uniform else inner + context
        while first < size:
            # The last tile moves inwards: beyond the border there is nothing to see.
            yield Cut(min(max(first - context, 0), padded - output), first, min(stop, size))
            first, stop = stop, stop + inner
            if stop + context >= padded and not uniform:
                stop = padded

    def output_of(self, size: int, count: int, geometry: Geometry, axis: int) -> int:
        """Return the output of a tile of which `count` make an axis of `size` voxels."""
        context, divisor = geometry.context[axis], geometry.divisor[axis]
        return 2 * context + max(divisor, -(-(size - 2 * context) // count))

    def stitched(self, answers: Iterator[Answer], cuts: Cuts) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield finished boxes of the volume as early as they can be had, every voxel once."""
        for tile, output in answers:
            yield tuple(slice(cut.first, cut.stop) for cut in tile), output[_decided(tile)]


@dataclass(frozen=True)
class Blend:
    """Overlapping tiles, of which every voxel is the mean weighted by a Gaussian; the rest is as in `Exact`.

    Attributes:
        overlap: the least share of a tile's output that it has in common with its neighbour, 0 to below 1.
    """

    overlap: float = 0.5

    name = "blend"
    in_words = "blended"
    # Little of a thin tile is far from an edge.
    may_be_thin = False
    # A tile that reaches into several blocks is computed for each of them: larger blocks share less.
    tiles_per_block = 4

    def cuts(self, size: int, tile: int, geometry: Geometry, axis: int, uniform: bool) -> Iterator[Cut]:
        output, padded = _sizes(size, tile, geometry, axis)
        divisor = geometry.divisor[axis]
        stride = max(divisor, int(output * (1 - self.overlap)) // divisor * divisor)
        if stride > output:
            raise InputError(
                f"tile: size {tile} along {AXES[axis]} gives {output} voxels of output, fewer than the network's pooling "
                f"of {divisor}; expected {geometry.legal_at_least(tile + divisor, axis)} or more."
            )
        last = max(padded - output, 0)
        starts = [*range(0, last, stride), last]
        bell = _bell(output)
        total = np.zeros(max(padded, output), np.float32)
        for start in starts:
            total[start : start + output] += bell
        for start in starts:
            stop = min(start + output, size)
            if start < stop:
                weights = (bell / total[start : start + output])[: stop - start]
                yield Cut(start, start, stop, weights if len(starts) > 1 else None)

    def output_of(self, size: int, count: int, geometry: Geometry, axis: int) -> int:
        return ceil(size / (1 + (count - 1) * (1 - self.overlap)))

    def stitched(self, answers: Iterator[Answer], cuts: Cuts) -> Iterator[tuple[Box, np.ndarray]]:
        """Add up tiles in a slab of the volume, and let go what no further tile reaches."""
        down, *across = cuts
        sides = tuple(slice(along[0].first, along[-1].stop) for along in across)
        done, slab = down[0].first, np.zeros((0, 0, 0, 0), np.float32)
        ends = [cut.first for cut in down[1:]] + [down[-1].stop]
        # Tiles of equal z come after each other.
        for (cut, row), end in zip(groupby(answers, key=lambda answer: answer[0][0]), ends, strict=True):
            for tile, output in row:
                if len(slab) < cut.stop - done:
                    slab = _extended(slab, (cut.stop - done, *(s.stop - s.start for s in sides), output.shape[-1]))
                into = tuple(
                    slice(c.first - start, c.stop - start)
                    for c, start in zip(tile, (done, *(side.start for side in sides)), strict=True)
                )
                slab[into] += output[_decided(tile)] * _weights(tile)
            yield (slice(done, end), *sides), slab[: end - done]
            done, slab = end, slab[end - done :]


Merge = Exact | Blend


def _sizes(size: int, tile: int, geometry: Geometry, axis: int) -> tuple[int, int]:
    """Return the outputs of a tile and of one pass over the whole, mirrored up to a legal size."""
    margin = 2 * geometry.margin[axis]
    return tile - margin, geometry.legal_at_least(size + margin, axis) - margin


def _bell(size: int) -> np.ndarray:
    """Gaussian with a standard deviation of an eighth of the tile, as in nnU-Net."""
    distance = (np.arange(size) - (size - 1) / 2) / (size / 8)
    return np.maximum(np.exp(-0.5 * distance**2), 1e-3).astype(np.float32)


def _decided(tile: Tile) -> tuple[slice, ...]:
    """Return where in a tile's output the voxels are that it has a part in."""
    return tuple(slice(cut.first - cut.start, cut.stop - cut.start) for cut in tile)


def _weights(tile: Tile) -> np.ndarray:
    z, y, x = (np.ones(1, np.float32) if cut.weights is None else cut.weights for cut in tile)
    return (z[:, None, None] * y[:, None] * x)[..., None]


def _extended(slab: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    longer = np.zeros(shape, np.float32)
    if len(slab):
        longer[: len(slab)] = slab
    return longer
