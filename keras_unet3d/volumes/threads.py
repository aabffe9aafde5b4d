"""Work on parts of a volume, several at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# More would wait for the disk, and hold many parts in memory.
_MOST_THREADS = 8
_CORES = min(os.cpu_count() or 1, _MOST_THREADS)


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = _CORES
) -> Iterator[_Result]:
    """Yield `function(item)` of all items, in order; as many as there are `threads` are computed ahead.

    NumPy and what decompresses files let other threads run meanwhile.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for late in waiting:
                late.cancel()
