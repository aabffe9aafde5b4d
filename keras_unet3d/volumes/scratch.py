"""An array that is filled box by box, and held in memory only where it is small."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Larger ones are kept in a file.
MOST_BYTES = 2**28


@dataclass
class Scratch:
    """An array of the given shape; `put` fills a part of it, `whole` is all of it, to be read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    file: Path | None
    _memory: np.ndarray | None = field(default=None, repr=False)

    def put(self, index: tuple[slice, ...], values: np.ndarray) -> None:
        """Fill a part."""
        # Mapped anew every time: pages of a map that stays count as memory of this process.
        array = self._memory if self.file is None else self._mapped("r+")
        array[index] = values

    def whole(self) -> np.ndarray:
        """Return everything, mapped where it is kept in a file."""
        return self._memory if self.file is None else self._mapped("r")

    def _mapped(self, mode: str) -> np.memmap:
        return np.memmap(self.file, self.dtype, mode, shape=self.shape)


@contextmanager
def scratch(beside: Path, shape: tuple[int, ...], dtype) -> Iterator[Scratch]:
    """Yield an array to fill; where it is large, kept in a file `beside` for as long as this lasts."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= MOST_BYTES:
        yield Scratch(shape, dtype, None, np.zeros(shape, dtype))
        return
    path = beside.with_name(f".{uuid.uuid4().hex[:8]}.partial.scratch")
    try:
        with path.open("wb") as file:
            # All of it is claimed now: a map that meets a full disk later ends the process without a word.
            claim = getattr(os, "posix_fallocate", None)  # not on every system
            claim(file.fileno(), 0, size) if claim else file.truncate(size)
        yield Scratch(shape, dtype, path)
    finally:
        path.unlink(missing_ok=True)
