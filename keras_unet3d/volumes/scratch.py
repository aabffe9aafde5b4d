"""An array that is filled box by box, and held in memory only where it is small."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

# Larger ones are kept in a file.
MOST_BYTES = 2**28


@contextmanager
def scratch(
    beside: Path, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[Callable[[Literal["r", "r+"]], np.ndarray]]:
    """Yield a function that returns the array, to be filled ("r+") or read ("r"); a large one is a file `beside`."""
    size = prod(shape) * dtype.itemsize
    if size <= MOST_BYTES:
        array = np.zeros(shape, dtype)
        yield lambda mode: array
        return
    path = beside.with_name(f".{uuid.uuid4().hex[:8]}.partial.scratch")
    try:
        with path.open("wb") as file:
            # The whole file is claimed now: if the disk were full later, writing to the map would kill the process.
            claim = getattr(os, "posix_fallocate", None)  # some systems have no such call
            claim(file.fileno(), 0, size) if claim else file.truncate(size)
        # Mapped anew every time, because the pages of a lasting map count as memory of this process.
        yield lambda mode: np.memmap(path, dtype, mode, shape=shape)
    finally:
        path.unlink(missing_ok=True)
