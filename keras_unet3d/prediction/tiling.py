"""Integer geometry of tiles: how large they are, and where they are read. No arrays of voxels.

Tiles begin at multiples of the pooling, so that all of them meet the pooling grid of one pass over the whole volume.
With "valid" padding a tile is read with a margin around its output.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from keras_unet3d.geometry import Box, Geometry, Triple, triple
from keras_unet3d.prediction.merging import Cuts, Exact, Merge, Tile

# Voxels of the largest tile where nobody says how many fit into memory.
MOST_VOXELS = 128**3


@dataclass(frozen=True)
class Tiling:
    """How a volume is covered.

    Attributes:
        shape: of the volume (z, y, x).
        tile: size of the network's input.
        output: size of its output.
        cuts: the tiles along z, y and x; every combination is a tile.
        merge: how the volume is made of them.
    """

    shape: Triple
    tile: Triple
    output: Triple
    cuts: Cuts
    merge: Merge

    @property
    def margin(self) -> Triple:
        """Voxels of a tile on each side that its output lacks."""
        return triple((t - o) // 2 for t, o in zip(self.tile, self.output, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(len(along) for along in self.cuts)

    @property
    def recomputation(self) -> float:
        """Voxels that the network is given, per voxel of the volume."""
        return self.count * prod(self.tile) / prod(self.shape)

    @property
    def step(self) -> Triple:
        """Distance of the tiles; of a single one its part of the volume."""
        return triple(
            along[1].first - along[0].first if len(along) > 1 else size
            for along, size in zip(self.cuts, self.shape, strict=True)
        )

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles, those of equal z after each other."""
        return product(*self.cuts)

    def part(self, box: Box) -> "Tiling":
        """Return the same tiles as far as they concern a box of the volume."""
        z, y, x = (
            tuple(left for cut in along if (left := cut.within(side.start, side.stop)))
            for along, side in zip(self.cuts, box, strict=True)
        )
        return replace(self, cuts=(z, y, x))

    def in_words(self) -> str:
        """Return the tiling as people are told of it."""
        tiles = "1 tile" if self.count == 1 else f"{self.count} tiles"
        how = "" if self.count == 1 else f", {self.merge.in_words}"
        return f"{tiles} of {' x '.join(map(str, self.tile))}{how}, every voxel computed {self.recomputation:.1f} times"


def plan(
    shape: Triple,
    geometry: Geometry,
    tile: Triple | None = None,
    *,
    merge: Merge = Exact(),
    most_voxels: int = MOST_VOXELS,
    uniform: bool = False,
) -> Tiling:
    """Return the tiling of a volume of any `shape`, also one smaller than a tile.

    Args:
        shape: voxels (z, y, x).
        geometry: of the network.
        tile: size of the network's input; `None` chooses the one with the least recomputation, the whole volume where that
            is small enough. A blended one has no side shorter than half of another, unless the volume has.
        merge: how the volume is made of tiles.
        most_voxels: of a tile that is chosen.
        uniform: let all tiles decide blocks of the same size, which may be those of a chunked file.

    Raises:
        InputError: an illegal tile, or one too small to be merged exactly.
    """
    if tile is None:
        candidates = [_candidates(shape[axis], geometry, axis, merge, uniform) for axis in range(3)]
        tile = _least_recomputation(candidates, most_voxels, merge.may_be_thin)
    geometry.check(tuple(tile), "tile")
    z, y, x = (tuple(merge.cuts(shape[axis], tile[axis], geometry, axis, uniform)) for axis in range(3))
    return Tiling(triple(shape), triple(tile), geometry.output_of(triple(tile)), (z, y, x), merge)


def blocks(tiling: Tiling) -> Iterator[Box]:
    """Yield boxes that cover the volume, each of which one tile (exact) or few tiles (blend) decide."""
    size = block_size(tiling)
    for start in product(*(range(0, n, b) for n, b in zip(tiling.shape, size, strict=True))):
        yield tuple(slice(a, min(a + b, n)) for a, b, n in zip(start, size, tiling.shape, strict=True))


def block_size(tiling: Tiling) -> Triple:
    """Return the size of the `blocks`."""
    steps = tiling.merge.tiles_per_block
    return triple(min(steps * s, n) for s, n in zip(tiling.step, tiling.shape, strict=True))


def _candidates(size: int, geometry: Geometry, axis: int, merge: Merge, uniform: bool) -> dict[int, int]:
    """Return tile sizes along one axis, and how many voxels all tiles of such a size have together."""
    margin, divisor = geometry.margin[axis], geometry.divisor[axis]
    whole = geometry.legal_at_least(size + 2 * margin, axis)
    totals = {whole: whole}
    for count in range(2, size // divisor + 2):
        output = max(divisor, -(-merge.output_of(size, count, geometry, axis) // divisor) * divisor)
        tile = geometry.legal_at_least(output + 2 * margin, axis)
        if tile < whole and tile not in totals:
            totals[tile] = tile * len(list(merge.cuts(size, tile, geometry, axis, uniform)))
    return totals


def _least_recomputation(candidates: list[dict[int, int]], most_voxels: int, may_be_thin: bool) -> Triple:
    """Return the tile of at most so many voxels with which the network has least to compute."""
    sizes = [np.array([*along.keys()], float) for along in candidates]
    totals = [np.array([*along.values()], float) for along in candidates]
    voxels, total = (np.einsum("i,j,k->ijk", *along) for along in (sizes, totals))
    total[voxels > most_voxels] = np.inf
    if not may_be_thin:
        total[_thin(sizes)] = np.inf
    if np.isinf(total).all():
        # Not even the smallest: it is for the caller to say so.
        return triple(int(along.min()) for along in sizes)
    # Of equals the largest tile: it is called least often.
    best = np.lexsort((-voxels.ravel(), total.ravel()))[0]
    return triple(int(along[i]) for along, i in zip(sizes, np.unravel_index(best, total.shape), strict=True))


def _thin(sizes: list[np.ndarray]) -> np.ndarray:
    """Return which tiles have a side shorter than half of another, where the volume would have let it be longer."""
    z, y, x = np.meshgrid(*sizes, indexing="ij")
    longest = np.maximum(np.maximum(z, y), x)
    sides = zip((z, y, x), sizes, strict=True)
    return np.logical_or.reduce([(side < longest / 2) & (side < along.max()) for side, along in sides])
