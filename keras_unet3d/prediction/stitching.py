"""From tiles to a volume: the network is asked for every tile, and finished boxes come out as early as they can."""

from collections.abc import Callable, Iterator
from itertools import chain, islice

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.merging import Answer, Tile
from keras_unet3d.prediction.tiling import Tiling
from keras_unet3d.volumes import in_threads


def stitched(
    network: Callable,
    tiling: Tiling,
    read: Callable,
    *,
    batch_size: int = 1,
    is_background: Callable[[np.ndarray], bool] | None = None,
    background: int = 0,
    listener: Listener = SILENT,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield boxes of the volume with the network's output `(z, y, x, classes)` for them, every voxel once.

    Tiles are read ahead in a thread of its own. Tiles that are the same value throughout have the same output, which is
    computed once.

    Args:
        network: batch `(batch, z, y, x, channels)` in, batch out.
        tiling: where.
        read: start and size -> `(z, y, x, channels)`; starts may be outside the volume.
        batch_size: tiles per call of the network.
        is_background: tells of a tile, as `read` returns it, that there is nothing to ask the network about.
        background: the class of such tiles, whose probability is 1.
        listener: is told tiles done and tiles in all.

    Raises:
        InputError: the network's output has another size than the tiling says.
    """
    ask = _asked_once(_checked(network, tiling), is_background, background)
    return tiling.merge.stitched(_answers(ask, tiling, read, batch_size, listener), tiling.cuts)


def assembled(boxes: Iterator[tuple[Box, np.ndarray]], shape: Triple) -> np.ndarray:
    """Return boxes that cover a volume as one array, `(z, y, x)` or `(z, y, x, channels)`."""
    # The first box tells the type and the channels.
    box, values = next(boxes)
    array = np.empty(shape + values.shape[3:], values.dtype)
    for place, voxels in chain([(box, values)], boxes):
        array[place] = voxels
    return array


def _answers(ask: Callable, tiling: Tiling, read: Callable, batch_size: int, listener: Listener) -> Iterator[Answer]:
    """Yield every tile with the network's output for it."""

    def read_group(group: list[Tile]) -> list[tuple[Tile, np.ndarray]]:
        return [(tile, read(_origin(tile, tiling.margin), tiling.tile)) for tile in group]

    done = 0
    for group in in_threads(read_group, _groups(tiling.tiles(), batch_size), 1):
        tiles, voxels = zip(*group, strict=True)
        yield from zip(tiles, ask(voxels), strict=True)
        done += len(group)
        listener.progress(done, tiling.count)


def _groups(items: Iterator, size: int) -> Iterator[list]:
    while group := list(islice(items, size)):
        yield group


def _origin(tile: Tile, margin: Triple) -> Triple:
    return triple(cut.start - m for cut, m in zip(tile, margin, strict=True))


def _checked(network: Callable, tiling: Tiling) -> Callable:
    def call(batch: np.ndarray) -> np.ndarray:
        output = np.asarray(network(batch))
        if output.ndim != 5:
            raise InputError(
                f"network: expected probabilities (batch, z, y, x, classes) of a batch, found an array of shape {output.shape}; "
                "return a number per class, also where there is one class alone."
            )
        if output.shape[1:4] != tiling.output:
            raise InputError(
                f"network: expected an output of {tiling.output} voxels for a tile of {tiling.tile}, found "
                f"{output.shape[1:4]}; pass the network's geometry."
            )
        return output

    return call


def _asked_once(network: Callable, is_background: Callable | None, background: int) -> Callable:
    """Return a function from tiles to their outputs that asks the network only once about empty ones."""
    known: dict[bytes, np.ndarray] = {}

    def ask(tiles: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        kinds = [_NOTHING if is_background and is_background(tile) else _constant(tile) for tile in tiles]
        fresh = [i for i, kind in enumerate(kinds) if kind is None or kind not in known]
        outputs = dict(zip(fresh, network(np.stack([tiles[i] for i in fresh])) if fresh else (), strict=True))
        for i, output in outputs.items():
            kind = kinds[i]
            if kind is not None:
                # What the network says of the background tells how many classes there are.
                known[kind] = _certain(output, background) if kind == _NOTHING else output
        return [outputs[i] if kind is None else known[kind] for i, kind in enumerate(kinds)]

    return ask


_NOTHING = b"nothing"


def _certain(output: np.ndarray, background: int) -> np.ndarray:
    answer = np.zeros_like(output)
    answer[..., background] = 1
    return answer


def _constant(tile: np.ndarray) -> bytes | None:
    """Return the value of a tile that is the same throughout, None for any other."""
    first = tile[0, 0, 0]
    # One row tells of most tiles that they are not.
    return first.tobytes() if (tile[0, 0] == first).all() and (tile == first).all() else None
