"""Percentiles of more values than are held: exact, in two passes of counting."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

# Values that half of the bits of a float32 have.
_HALF = 2**16


def percentiles(blocks: Callable[[], Iterable[np.ndarray]], at: Sequence[float]) -> np.ndarray:
    """Return percentiles of every column, `(columns, percentiles)`, in single precision, as NumPy has them.

    Args:
        blocks: returns arrays `(values, columns)`, the same ones at every call; it is called twice.
        at: which percentiles, 0 to 100.
    """
    # The upper half of the bits is counted first; of the values that share it with a rank, the lower half.
    upper = np.array(sum(_counts(keys >> 16) for keys in _keys(blocks)))
    sums = upper.cumsum(axis=1)
    positions = np.asarray(at, float) / 100 * (sums[0, -1] - 1)
    ranks = np.minimum(np.floor(positions).astype(int)[:, None] + [0, 1], sums[0, -1] - 1)
    bins = np.stack([np.searchsorted(row, ranks.ravel(), side="right") for row in sums])
    lower = {(column, of): np.zeros(_HALF, np.int64) for column, row in enumerate(bins) for of in row}
    for keys in _keys(blocks):
        for (column, of), counts in lower.items():
            inside = keys[:, column][keys[:, column] >> 16 == of]
            counts += np.bincount(inside & (_HALF - 1), minlength=_HALF)
    found = np.empty((len(bins), *ranks.shape), np.float64)
    for column, row in enumerate(bins):
        for place, (of, rank) in enumerate(zip(row, ranks.ravel(), strict=True)):
            before = sums[column, of] - upper[column, of]
            rest = np.searchsorted(lower[column, of].cumsum(), rank - before, side="right")
            found[column].flat[place] = _value(int(of) << 16 | int(rest))
    share = positions - np.floor(positions)
    return found[..., 0] + (found[..., 1] - found[..., 0]) * share


def _counts(halves: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(column, minlength=_HALF) for column in halves.T])


def _keys(blocks: Callable[[], Iterable[np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield the blocks as whole numbers in the order of their values."""
    for block in blocks():
        bits = np.ascontiguousarray(block, np.float32).view(np.uint32)
        yield np.where(bits >> 31, ~bits, bits | 2**31).astype(np.int64)


def _value(key: int) -> float:
    """Return the value of a whole number of `_keys`."""
    bits = key ^ 2**31 if key >> 31 else ~key & (2**32 - 1)
    return float(np.uint32(bits).view(np.float32))
