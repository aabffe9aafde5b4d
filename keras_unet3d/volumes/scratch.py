"""Arrays that are filled box by box, and kept in a file that is gone with the process where they are large."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from keras_unet3d.files import unnamed_file
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.volume import Volume, in_memory

# Larger ones are kept in a file.
MOST_BYTES = 2**28


@contextmanager
def scratch(
    beside: Path, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[Callable[[Literal["r", "r+"]], np.ndarray]]:
    """Yield a function that returns the array, to be filled ("r+") or read ("r"); a large one is a file on the disk of `beside`."""
    size = prod(shape) * dtype.itemsize
    if size <= MOST_BYTES:
        array = np.zeros(shape, dtype)
        yield lambda mode: array
        return
    with unnamed_file(beside.parent, size) as file:
        # Mapped anew every time, because the pages of a lasting map count as memory of this process.
        yield lambda mode: np.memmap(file, dtype, mode, shape=shape)


@contextmanager
def kept(
    boxes: Iterator[tuple[Box, np.ndarray]], like: Volume, beside: Path
) -> Iterator[tuple[Volume, Callable[[Box, np.ndarray], None]]]:
    """Yield the volume that is made of boxes, and a function that writes another one; a large volume is on the disk of `beside`.

    Boxes are `(z, y, x)` or `(z, y, x, channels)`, as many as cover a volume like `like`.
    """
    # The first box tells the type and the channels.
    box, values = next(boxes)
    channels = values.shape[3] if values.ndim == 4 else 1
    with scratch(beside, (*like.shape, channels), values.dtype) as array:

        def read(place: Box) -> np.ndarray:
            return np.array(array("r")[place])

        def write(place: Box, voxels: np.ndarray) -> None:
            array("r+")[place] = voxels.reshape(*voxels.shape[:3], channels)

        for place, voxels in chain([(box, values)], boxes):
            write(place, voxels)
        yield replace(like, channels=channels, dtype=values.dtype, read=read, packed=False), write


def unpacker(folder: Path, size: int) -> Callable[[Volume], Volume]:
    """Return a function that unpacks a volume, once, into a file of `size` bytes for all of them on the disk of a folder.

    Crops are read from there. The file is gone when nobody reads from it any more, or the process dies.
    """
    file, end = unnamed_file(folder, size), 0

    def unpacked(volume: Volume) -> Volume:
        nonlocal end
        begun, end = end, end + volume.nbytes
        shape = (*volume.shape, volume.channels)

        def read(box: Box) -> np.ndarray:
            return np.array(np.memmap(file, volume.dtype, "r", begun, shape)[box])

        for box, voxels in volume.blocks():
            np.memmap(file, volume.dtype, "r+", begun, shape)[box] = voxels
        return replace(volume, read=read, packed=False)

    return unpacked


def readable_by_crops(volume: Volume, folder: Path) -> Volume:
    """Return the volume, or what is packed unpacked: into memory, or where it is large into a file on the disk of a folder."""
    if not volume.packed:
        return volume
    return in_memory(volume) if volume.nbytes <= MOST_BYTES else unpacker(folder, volume.nbytes)(volume)
