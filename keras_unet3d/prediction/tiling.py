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
from math import ceil, prod

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
        tile: size of the network's input; `None` chooses the one with the least recomputation, the whole volume where that
            is small enough. A blended one has no side shorter than half of another, unless the volume has.
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
        sizer = partial(_SIZES[merge], overlap=overlap)
        along = [_candidates(shape[axis], geometry, axis, sizer, cutter) for axis in range(3)]
        tile = _least_recomputation(along, most_voxels, _MAY_BE_THIN[merge])
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


def _least_recomputation(along: list[dict[int, int]], most_voxels: int, may_be_thin: bool) -> Triple:
    """Return the tile of at most so many voxels with which the network has least to compute; `along` are the candidates."""
    sizes, totals = ([np.array([*part], float) for part in parts] for parts in zip(*map(_unzipped, along), strict=True))
    voxels, total = (np.einsum("i,j,k->ijk", *each) for each in (sizes, totals))
    total[voxels > most_voxels] = np.inf
    if not may_be_thin:
        total[_thin(sizes)] = np.inf
    if np.isinf(total).all():
        # Not even the smallest: it is for the caller to say so.
        return tuple(int(each.min()) for each in sizes)
    # Of equals the largest tile: it is called least often.
    best = np.lexsort((-voxels.ravel(), total.ravel()))[0]
    return tuple(int(each[i]) for each, i in zip(sizes, np.unravel_index(best, total.shape), strict=True))


def _unzipped(candidates: dict[int, int]):
    return candidates.keys(), candidates.values()


def _candidates(size: int, geometry: Geometry, axis: int, sizer: Callable, cutter: Callable) -> dict[int, int]:
    """Return tile sizes along one axis, and how many voxels all tiles of such a size have together."""
    margin, divisor = geometry.margin[axis], geometry.divisor[axis]
    whole = geometry.legal_at_least(size + 2 * margin, axis)
    found = {whole: whole}
    for count in range(2, size // divisor + 2):
        output = max(divisor, -(-sizer(size, count, geometry, axis) // divisor) * divisor)
        tile = geometry.legal_at_least(output + 2 * margin, axis)
        if tile < whole and tile not in found:
            found[tile] = tile * len(list(cutter(size, tile, geometry, axis)))
    return found


def _exact_size(size: int, count: int, geometry: Geometry, axis: int, overlap: float) -> int:
    """Return the outputs of a tile of which `count` make a volume of `size`."""
    context, divisor = geometry.context[axis], geometry.divisor[axis]
    return 2 * context + max(divisor, -(-(size - 2 * context) // count))


def _blend_size(size: int, count: int, geometry: Geometry, axis: int, overlap: float) -> int:
    return ceil(size / (1 + (count - 1) * (1 - overlap)))


def _thin(sizes: list[np.ndarray]) -> np.ndarray:
    """Return which tiles have a side shorter than half of another, where the volume would have let it be longer."""
    z, y, x = np.meshgrid(*sizes, indexing="ij")
    longest = np.maximum(np.maximum(z, y), x)
    sides = zip((z, y, x), sizes, strict=True)
    return np.logical_or.reduce([(side < longest / 2) & (side < along.max()) for side, along in sides])


_CUTTERS = {"exact": _exact, "blend": _blend}
# How large a tile is of which there are so many along an axis.
_SIZES = {"exact": _exact_size, "blend": _blend_size}
# A thin exact tile has all its context; of a blended one little is far from an edge.
_MAY_BE_THIN = {"exact": True, "blend": False}
MERGES = tuple(_CUTTERS)
