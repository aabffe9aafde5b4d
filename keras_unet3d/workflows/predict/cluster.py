"""A function of a number and a job, computed for many numbers here or by the workers of a Dask cluster."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from keras_unet3d.errors import InputError

HERE = "here"
_RETRIES, _TIMEOUT = 3, 20

_Job = TypeVar("_Job")


def computed(function: Callable[[int, _Job], int], job: _Job, numbers: Iterable[int], scheduler: str) -> Iterator[int]:
    """Yield the numbers as they are done.

    Args:
        function: of a module, which workers import too; returns the number.
        job: the same for all numbers.
        numbers: of what is to be computed.
        scheduler: the address of a Dask scheduler, or `HERE`.

    Raises:
        InputError: no cluster, or a package that is missing.
    """
    if scheduler == HERE:
        return (function(number, job) for number in numbers)
    return _by_cluster(function, job, [*numbers], scheduler)


def _by_cluster(function: Callable[[int, _Job], int], job: _Job, numbers: list[int], address: str) -> Iterator[int]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise InputError(
            "scheduler: expected the package distributed, found none; run pip install 'keras-unet3d[cluster]', or use "
            f"`scheduler={HERE}`."
        ) from error
    try:
        client = Client(address, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise InputError(
            f"scheduler: expected a Dask scheduler at {address}, found none ({error}); start one with dask scheduler."
        ) from error
    with client:
        # A worker that dies is another's work; a worker that fails is asked again.
        futures = client.map(function, numbers, job=client.scatter(job), retries=_RETRIES, pure=False)
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            client.cancel(futures)
