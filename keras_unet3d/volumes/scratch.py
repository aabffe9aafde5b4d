"""An array that is filled box by box, and held in memory only where it is small."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from keras_unet3d.files import unnamed_file

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
