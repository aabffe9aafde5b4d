"""Processes, on one host or on several, that train one network together: those that `jax.distributed` has joined.

All of them run the same program on their own part of every batch. What only one may do, or what a clock or a machine decides,
the first process does, and the others are told.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

import numpy as np

from keras_unet3d.errors import InputError

# The word for: what SLURM or Open MPI say.
AUTO = "auto"
# Seconds after which a process that is not heard of counts as dead, and for which others are waited for at the beginning.
_SILENCE, _PATIENCE = 30, 300
# Seconds that the first process, whose end ends the others, leaves them to say what happened.
_LAST_WORDS = 2
# What is told has a multiple of so many bytes: every new size is compiled anew.
_BYTES = 4096
# What JAX, gloo and NCCL say of a process that is gone.
_LOST = re.compile("gloo|nccl|coordination service|distributed service|heartbeat", re.IGNORECASE)


class HostLost(RuntimeError):
    """Another process of a training has ended."""


def join(address: str | None, host: str | None = None) -> None:
    """Join the other processes of a training, and wait until all are there.

    Args:
        address: where the first process listens, like node1:9000; or "auto", for all that SLURM or Open MPI know.
        host: which of how many processes this one is, the first one being 1/2 of two; None with "auto".

    Raises:
        InputError: another backend than JAX, a text that is none of these, or processes that do not come together.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise InputError(f"hosts: expected the JAX backend, found {keras.backend.backend()}; set KERAS_BACKEND=jax.")
    known = _from_surroundings(host) if address == AUTO else _given(address, host)
    import jax

    # JAX has its own, by which the process would not end.
    by_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(**known, heartbeat_timeout_seconds=_SILENCE, initialization_timeout=_PATIENCE)
    except (ValueError, KeyError, RuntimeError) as error:
        raise InputError(_apart(address, error)) from error
    finally:
        signal.signal(signal.SIGTERM, by_sigterm)


def _from_surroundings(host: str | None) -> dict[str, Any]:
    if host is not None:
        raise InputError(f"host: expected none with `hosts={AUTO}`, which knows it, found {host}; leave it out.")
    return {}


def _given(address: str | None, host: str | None) -> dict[str, Any]:
    if not re.fullmatch(r".+:\d{1,5}", address or ""):
        found = "none" if address is None else repr(address)
        raise InputError(f"hosts: expected {AUTO}, or an address and a port like node1:9000, found {found}.")
    parts = re.fullmatch(r"(\d{1,4})/(\d{1,4})", host or "")
    number, of = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= of:
        found = "none" if host is None else repr(host)
        raise InputError(f"host: expected which of how many processes this one is, like 1/2, found {found}.")
    # Not what the job of SLURM says in which one may have typed this.
    known = {"coordinator_address": address, "num_processes": of, "process_id": number - 1}
    return known | {"cluster_detection_method": "deactivate"}


def _apart(address: str | None, error: Exception) -> str:
    if address == AUTO and isinstance(error, ValueError | KeyError):
        return (
            "hosts: expected a step of SLURM (srun) or a job of Open MPI (mpirun), found neither; give the address of the "
            "first process, and which one this is: `hosts=node1:9000` `host=1/2`."
        )
    reason = str(error).splitlines()[0]
    return f"hosts: expected all processes to meet at {address} within {_PATIENCE} seconds, found {reason}"


def count() -> int:
    """Return how many processes train together."""
    # JAX is not loaded, nor its devices claimed, to find out.
    jax = sys.modules.get("jax")
    return jax.process_count() if jax and hasattr(jax, "distributed") and jax.distributed.is_initialized() else 1


def index() -> int:
    """Return which of them this process is, from 0."""
    return sys.modules["jax"].process_index() if count() > 1 else 0


def leads() -> bool:
    """Return whether this process is the first, which alone speaks and writes files."""
    return index() == 0


def refuse_several(**given: object) -> None:
    """Raise `InputError` for the first argument that is given where there are several processes, for what one alone can do."""
    for name, value in given.items():
        if value and count() > 1:
            raise InputError(f"{name}: expected a training by one process, found {count()}; leave it out.")


def by_first(context: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Return the context manager in the first process; in any other one that does nothing."""
    return context if leads() else nullcontext()


def of_first(make: Callable[[], Any]) -> Any:
    """Return what `make` returns in the first process, which JSON can hold; the others wait for it, and do not call it.

    Raises:
        InputError: `make` did, in all processes.
    """
    if count() == 1:
        return make()
    refused = None
    answer = b""
    if leads():
        try:
            answer = json.dumps({"is": make()}).encode()
        except InputError as error:
            refused, answer = error, json.dumps({"refused": str(error)}).encode()
    told = json.loads(_told(answer))
    if "refused" in told:
        raise refused or InputError(told["refused"])
    return told["is"]


def _told(text: bytes) -> bytes:
    (size,) = arrays_of_first([np.array(len(text), np.int32)])
    filled = np.zeros(-(-int(size) // _BYTES) * _BYTES, np.uint8)
    filled[: len(text)] = np.frombuffer(text, np.uint8)
    return arrays_of_first([filled])[0].tobytes()[: int(size)]


def arrays_of_first(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the arrays of the first process; every other one gives arrays of the same shapes and types."""
    if count() == 1:
        return [*arrays]
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all([*arrays])


def summed(number: float) -> float:
    """Return the sum of a number over all processes."""
    if count() == 1:
        return number
    from jax.experimental import multihost_utils

    return float(multihost_utils.process_allgather(np.float32(number)).sum(dtype=np.float64))


@contextmanager
def alone(variables: Sequence[Any]) -> Iterator[None]:
    """Have this process compute by itself within: Keras' variables have their values here, which no other is asked for."""
    if count() == 1:
        yield
        return
    import keras

    distribution, values = keras.distribution.distribution(), [variable.value for variable in variables]
    keras.distribution.set_distribution(None)
    for variable, value in zip(variables, values, strict=True):
        # Assigned, it would be spread again.
        variable._value = value.addressable_data(0)
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable._value = value
        keras.distribution.set_distribution(distribution)


@contextmanager
def lost_in_words() -> Iterator[None]:
    """Turn the error of a backend that misses another process into one sentence.

    Raises:
        HostLost: it did.
    """
    try:
        yield
    except Exception as error:
        if count() > 1 and not isinstance(error, InputError) and _LOST.search(str(error)):
            raise HostLost(f"another of the {count()} processes has ended") from error
        raise


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without waiting for the others where there are any: they may wait for it."""
    if count() == 1:
        sys.exit(code)
    if leads():
        time.sleep(_LAST_WORDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
