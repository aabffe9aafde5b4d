"""How large a tile may be: what the network takes per voxel, and what there is."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple
from keras_unet3d.machine import memory
from keras_unet3d.prediction.tiling import MOST_VOXELS
from keras_unet3d.settings import PredictSettings
from keras_unet3d.settings.texts import parse_bytes
from keras_unet3d.words import by, gigabytes, plural

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

    def of_tiles(self, tile: Triple, together: int = 1) -> float:
        """Return the bytes that so many tiles take together."""
        return float(np.prod(tile, dtype=float)) * ((self.voxel_bytes or 0) + _BESIDE) * together

    def most_voxels(self, settings: PredictSettings, together: int = 1) -> int:
        """Return the voxels of the largest tile that there is memory for, so many together."""
        if self.voxel_bytes is None:
            return MOST_VOXELS
        if settings.max_ram is not None:
            budget = parse_bytes(settings.max_ram) - self.held_before
        else:
            budget = min(_TILE_BYTES, (memory.available_memory() or 2 * _TILE_BYTES) // 2)
        return max(0, int(budget / self.of_tiles((1, 1, 1), together)))

    def refuse_larger(self, tile: Triple, settings: PredictSettings, together: int = 1) -> None:
        """Raise `InputError` where so many tiles take more than the settings allow, or than there is."""
        needed = self.of_tiles(tile, together)
        what = f"{plural(together, 'tile')} of {by(tile)} voxels"
        if settings.max_ram is not None:
            least = needed + self.held_before
            if least > parse_bytes(settings.max_ram):
                raise InputError(
                    f"max_ram: expected at least {least / 2**30:.1f}G for {what} and this network, found {settings.max_ram}."
                )
        elif (room := memory.available_memory()) is not None and needed > room:
            raise InputError(
                f"tile: expected room for {what}, {gigabytes(needed)}, found {gigabytes(room)}; give a smaller `tile` or "
                "`batch_size`."
            )

    def in_words(self, tile: Triple, together: int) -> str:
        """Return what so many tiles take, as people are told of it."""
        if self.voxel_bytes is None:
            return "memory not known"
        return (
            f"{self.of_tiles(tile, together) / 2**30:.2f} GB for {'a tile' if together == 1 else f'{together} tiles'}"
        )
