"""Integer geometry of overlapping tiles: where they are read, what their output decides. No arrays of voxels.

exact   ├──── kept ────┤context┤                 every voxel comes from the one tile that saw all that decides it;
                   ├context┤─ kept ─┤context┤    at the volume's border there is nothing more to see
                              ├context┤─ kept ──┤
blend   ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤             every voxel is the weighted mean of all tiles that reach it;
                  ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤   a tile's edges, which saw least, weigh least

Tiles begin at multiples of the pooling, so that all of them meet the pooling grid of one pass over the whole volume.
With "valid" padding a tile is read with a margin around its output.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from math import prod

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Box, Geometry, Triple

# Voxels of the largest tile where nobody says how many fit into memory.
MOST_VOXELS = 128**3


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


@dataclass(frozen=True)
class Tiling:
    """How a volume is covered.

    Attributes:
        shape: of the volume (z, y, x).
        tile: size of the network's input.
        output: size of its output.
        cuts: the tiles along z, y and x; every combination is a tile.
        merge: "exact" or "blend".
    """

    shape: Triple
    tile: Triple
    output: Triple
    cuts: tuple[tuple[Cut, ...], tuple[Cut, ...], tuple[Cut, ...]]
    merge: str

    @property
    def margin(self) -> Triple:
        """Voxels of a tile on each side that its output lacks."""
        return tuple((t - o) // 2 for t, o in zip(self.tile, self.output, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(len(cuts) for cuts in self.cuts)

    @property
    def recomputation(self) -> float:
        """Voxels that the network is given, per voxel of the volume."""
        return self.count * prod(self.tile) / prod(self.shape)

    @property
    def step(self) -> Triple:
        """Distance of the tiles; of a single one its part of the volume."""
        return tuple(
            cuts[1].first - cuts[0].first if len(cuts) > 1 else size
            for cuts, size in zip(self.cuts, self.shape, strict=True)
        )

    def tiles(self) -> Iterator[tuple[Cut, Cut, Cut]]:
        """Yield the tiles, those of equal z after each other."""
        return product(*self.cuts)

    def part(self, box: Box) -> "Tiling":
        """Return the same tiles as far as they concern a box of the volume."""
        cuts = tuple(
            tuple(left for cut in along if (left := cut.within(side.start, side.stop)))
            for along, side in zip(self.cuts, box, strict=True)
        )
        return replace(self, cuts=cuts)


def plan(
    shape: Triple,
    geometry: Geometry,
    tile: Triple | None = None,
    *,
    merge: str = "exact",
    overlap: float = 0.5,
    most_voxels: int = MOST_VOXELS,
    uniform: bool = False,
) -> Tiling:
    """Return the tiling of a volume of any `shape`, also one smaller than a tile.

    Args:
        shape: voxels (z, y, x).
        geometry: of the network.
        tile: size of the network's input; `None` chooses the whole volume where it is small enough, and otherwise,
            exactly merged, the tile with the least recomputation, or, blended, the largest compact one.
        merge: "exact" or "blend", see above.
        overlap: blended, the least share of a tile's output that it has in common with its neighbour, 0 to below 1.
        most_voxels: of a tile that is chosen.
        uniform: let all tiles decide blocks of the same size, which may be those of a chunked file.

    Raises:
        InputError: an illegal tile or overlap, or one too small to be merged exactly.
    """
    if merge not in _CUTTERS:
        raise InputError(f"merge: expected one of {', '.join(_CUTTERS)}; found {merge!r}.")
    if not 0 <= overlap < 1:
        raise InputError(f"overlap: expected a share from 0 to below 1, found {overlap}.")
    cutter = partial(_CUTTERS[merge], overlap=overlap, uniform=uniform)
    if tile is None:
        tile = _TILES[merge](shape, geometry, most_voxels, cutter)
    geometry.check(tuple(tile), "tile")
    cuts = tuple(tuple(cutter(shape[axis], tile[axis], geometry, axis)) for axis in range(3))
    output = tuple(geometry.output_size(size, axis) for axis, size in enumerate(tile))
    return Tiling(tuple(shape), tuple(tile), output, cuts, merge)


def blocks(tiling: Tiling) -> Iterator[Box]:
    """Yield boxes that cover the volume, each of which one tile (exact) or few tiles (blend) decide."""
    size = block_size(tiling)
    for start in product(*(range(0, n, b) for n, b in zip(tiling.shape, size, strict=True))):
        yield tuple(slice(a, min(a + b, n)) for a, b, n in zip(start, size, tiling.shape, strict=True))


def block_size(tiling: Tiling) -> Triple:
    """Return the size of the `blocks`."""
    # A blended tile that reaches into several blocks is computed for each of them: larger blocks share less.
    steps = {"exact": 1, "blend": 4}[tiling.merge]
    return tuple(min(steps * s, n) for s, n in zip(tiling.step, tiling.shape, strict=True))


# ---- cuts along one axis -------------------------------------------------------------------------


def _exact(size: int, tile: int, geometry: Geometry, axis: int, overlap: float, uniform: bool) -> Iterator[Cut]:
    output, padded = _sizes(size, tile, geometry, axis)
    if output >= padded:
        yield Cut(0, 0, size)
        return
    context, divisor = geometry.context[axis], geometry.divisor[axis]
    inner = (output - 2 * context) // divisor * divisor
    if inner < divisor:
        least = geometry.legal_at_least(2 * (context + geometry.margin[axis]) + divisor, axis)
        raise InputError(
            f"tile: expected at least {least} along {AXES[axis]}, found {tile}: a voxel depends on up to {context} voxels "
            "to each side; take a larger tile, or --merge blend."
        )
    first, stop = 0, inner if uniform else inner + context
    while first < size:
        # The last tile moves inwards: beyond the border there is nothing to see.
        yield Cut(min(max(first - context, 0), padded - output), first, min(stop, size))
        first, stop = stop, stop + inner
        if stop + context >= padded and not uniform:
            stop = padded


def _blend(size: int, tile: int, geometry: Geometry, axis: int, overlap: float, uniform: bool) -> Iterator[Cut]:
    output, padded = _sizes(size, tile, geometry, axis)
    divisor = geometry.divisor[axis]
    stride = max(divisor, int(output * (1 - overlap)) // divisor * divisor)
    if stride > output:
        raise InputError(
            f"tile: size {tile} along {AXES[axis]} gives {output} voxels of output, fewer than the network's pooling of "
            f"{divisor}; expected {geometry.legal_at_least(tile + divisor, axis)} or more."
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


def _bell(size: int) -> np.ndarray:
    """Gaussian with a standard deviation of an eighth of the tile, as in nnU-Net."""
    distance = (np.arange(size) - (size - 1) / 2) / (size / 8)
    return np.maximum(np.exp(-0.5 * distance**2), 1e-3).astype(np.float32)


def _sizes(size: int, tile: int, geometry: Geometry, axis: int) -> tuple[int, int]:
    """Return the outputs of a tile and of one pass over the whole, mirrored up to a legal size."""
    margin = 2 * geometry.margin[axis]
    return tile - margin, geometry.legal_at_least(size + margin, axis) - margin


# ---- tiles ---------------------------------------------------------------------------------------


def _least_recomputation(shape: Triple, geometry: Geometry, most_voxels: int, cutter: Callable) -> Triple:
    """Return the tile of at most so many voxels with which the network has least to compute."""
    sizes, totals = zip(*(_candidates(shape[axis], geometry, axis, cutter) for axis in range(3)), strict=True)
    voxels, total = (np.einsum("i,j,k->ijk", *(np.array(each, float) for each in along)) for along in (sizes, totals))
    total[voxels > most_voxels] = np.inf
    if np.isinf(total).all():
        # Not even the smallest: it is for the caller to say so.
        return tuple(min(along) for along in sizes)
    # Of equals the largest tile: it is called least often.
    best = np.lexsort((-voxels.ravel(), total.ravel()))[0]
    return tuple(along[i] for along, i in zip(sizes, np.unravel_index(best, total.shape), strict=True))


def _candidates(size: int, geometry: Geometry, axis: int, cutter: Callable) -> tuple[list[int], list[int]]:
    """Return tile sizes along one axis, and what each of them has the network compute."""
    margin, context, divisor = geometry.margin[axis], geometry.context[axis], geometry.divisor[axis]
    found = {}
    whole = geometry.legal_at_least(size + 2 * margin, axis)
    for count in range(1, size // divisor + 2):
        inner = -(-(size - 2 * context) // count // divisor) * divisor
        tile = geometry.legal_at_least(max(divisor, inner) + 2 * (context + margin), axis) if count > 1 else whole
        if tile <= whole and tile not in found:
            found[tile] = tile * len(list(cutter(size, tile, geometry, axis)))
    return list(found), list(found.values())


def _compact(shape: Triple, geometry: Geometry, most_voxels: int, cutter: Callable) -> Triple:
    """Return the tile that covers `shape` at once, or the one that is halved along its longest axis until it fits."""
    outputs = list(shape)
    while True:
        tile = tuple(
            geometry.legal_at_least(size + 2 * geometry.margin[axis], axis) for axis, size in enumerate(outputs)
        )
        longest = max(range(3), key=lambda axis: outputs[axis])
        half = -(-outputs[longest] // 2)
        if prod(tile) <= most_voxels or half < 2 * geometry.divisor[longest]:
            return tile
        outputs[longest] = half


_CUTTERS = {"exact": _exact, "blend": _blend}
_TILES = {"exact": _least_recomputation, "blend": _compact}
MERGES = tuple(_CUTTERS)
