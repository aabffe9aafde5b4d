"""Integer geometry of overlapping tiles: where they are read, where their output goes. No arrays of voxels.

volume      0 ├───────────────────────────────┤ n
tile          margin ├── output ──┤ margin           output starts are multiples of the stride, and
next tile              margin ├── output ──┤ margin  the stride is a multiple of the pooling: every tile
                                                     meets the same pooling grid as the whole volume would
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Geometry, Triple

# Voxels of the largest tile chosen unasked: some hundred channels of it stay near half a gigabyte.
MOST_VOXELS = 96**3


@dataclass(frozen=True)
class Tiling:
    """How a volume is covered.

    Attributes:
        shape: of the volume (z, y, x).
        tile: size of the network's input.
        output: size of its output.
        stride: distance of the tiles.
    """

    shape: Triple
    tile: Triple
    output: Triple
    stride: Triple

    @property
    def margin(self) -> Triple:
        """Voxels of a tile on each side that its output lacks."""
        return tuple((t - o) // 2 for t, o in zip(self.tile, self.output, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(len(starts) for starts in self._starts())

    def starts(self) -> Iterator[Triple]:
        """Yield the first output voxel (z, y, x) of every tile; outputs may stick out at the far end."""
        return product(*self._starts())

    def _starts(self) -> list[range]:
        return [range(0, max(n - o, 0) + s, s) for n, o, s in zip(self.shape, self.output, self.stride, strict=True)]


def plan(shape: Triple, geometry: Geometry, tile: Triple | None = None, overlap: float = 0.5) -> Tiling:
    """Return the tiling of a volume of any `shape`, also one smaller than a tile.

    Args:
        shape: voxels (z, y, x).
        geometry: of the network.
        tile: size of the network's input; `None` chooses the whole volume where it is small enough, and
            otherwise the largest that is.
        overlap: least share of a tile's output that it has in common with its neighbour, 0 to below 1; half
            hides the seams (`benchmarks/seams.py`), less is faster. Not used under "valid" padding, where
            outputs are exact to their edge.

    Raises:
        InputError: an illegal tile or overlap.
    """
    if not 0 <= overlap < 1:
        raise InputError(f"overlap: expected a share from 0 to below 1, found {overlap}.")
    tile = largest_tile(shape, geometry) if tile is None else tuple(tile)
    geometry.check(tile, "tile")
    output = tuple(geometry.output_size(size, axis) for axis, size in enumerate(tile))
    share = 0.0 if geometry.padding == "valid" else overlap
    stride = []
    for axis in range(3):
        divisor = geometry.divisor[axis]
        stride.append(max(divisor, int(output[axis] * (1 - share)) // divisor * divisor))
        if stride[axis] > output[axis]:
            raise InputError(
                f"tile: size {tile[axis]} along {AXES[axis]} gives {output[axis]} voxels of output, fewer than the "
                f"network's pooling of {divisor}; expected {geometry.legal_at_least(tile[axis] + divisor, axis)} or more."
            )
    return Tiling(tuple(shape), tile, output, tuple(stride))


def largest_tile(shape: Triple, geometry: Geometry, most_voxels: int = MOST_VOXELS) -> Triple:
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
