"""How large a tile may be: what the network takes per voxel, and what there is."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple
from keras_unet3d.machine import memory
from keras_unet3d.prediction.tiling import MOST_VOXELS
from keras_unet3d.settings import PredictSettings
from keras_unet3d.settings.texts import parse_bytes

# Most memory of a tile where nobody says, and what a voxel of it takes beside the network's features: read ahead,
# normalised, and in the output.
_TILE_BYTES, _BESIDE = 4 * 2**30, 48


@dataclass(frozen=True)
class TileMemory:
    """What tiles of a network take.

    Attributes:
        voxel_bytes: memory that the network takes per voxel of a tile; None where nobody knows.
        held_before: memory of the process before the first tile. What tiles took is kept by the allocator for the next ones.
    """

    voxel_bytes: float | None = None
    held_before: int = 0

    def of_tile(self, tile: Triple, settings: PredictSettings) -> float:
        """Return the bytes that a batch of tiles takes."""
        return float(np.prod(tile)) * ((self.voxel_bytes or 0) + _BESIDE) * settings.batch_size

    def most_voxels(self, settings: PredictSettings) -> int:
        """Return the voxels of the largest tile that there is memory for."""
        if self.voxel_bytes is None:
            return MOST_VOXELS
        if settings.max_ram is not None:
            budget = parse_bytes(settings.max_ram) - self.held_before
        else:
            budget = min(_TILE_BYTES, (memory.available_memory() or 2 * _TILE_BYTES) // 2)
        return max(0, int(budget / self.of_tile((1, 1, 1), settings)))

    def refuse_larger(self, tile: Triple, settings: PredictSettings) -> None:
        """Raise `InputError` where a tile takes more than the settings allow."""
        if settings.max_ram is not None and np.prod(tile) > self.most_voxels(settings):
            needed = self.held_before + self.of_tile(tile, settings)
            raise InputError(
                f"max_ram: expected at least {needed / 2**30:.1f}G for a tile of {' x '.join(map(str, tile))} voxels and "
                f"this network, found {settings.max_ram}."
            )

    def in_words(self, tile: Triple, settings: PredictSettings) -> str:
        """Return what a tile takes, as people are told of it."""
        if self.voxel_bytes is None:
            return "memory not known"
        return f"{self.of_tile(tile, settings) / 2**30:.2f} GB for a tile"
