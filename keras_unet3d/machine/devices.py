"""The devices that the Keras backend computes on, and how a training is spread over them."""

import functools
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from keras_unet3d.errors import InputError
from keras_unet3d.machine import hosts
from keras_unet3d.machine.tensors import Tensor


def has_gpu() -> bool:
    """Return whether the Keras backend sees a GPU; TensorFlow's memory then grows as needed instead of all at once."""
    import keras

    backend = keras.backend.backend()
    return _GPUS[backend]() if backend in _GPUS else False


def _tensorflow_has_gpu() -> bool:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # The device is in use already: its memory policy is the caller's.
            break
    return bool(gpus)


def _jax_has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


_GPUS = {"tensorflow": _tensorflow_has_gpu, "jax": _jax_has_gpu, "torch": _torch_has_gpu}


def has_nvidia_driver() -> bool:
    """Return whether the driver of an NVIDIA GPU is there, whatever the backend sees of it."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def device_count() -> int:
    """Return the number of devices that a training is spread over unless the user says otherwise: all GPUs, or one.

    Of several processes that train together it is all that they have.
    """
    return len(device_names()) if has_gpu() or hosts.count() > 1 else 1


def own_processor() -> str:
    """Return what the backend calls the processor of this process."""
    if hosts.count() == 1:
        return "cpu:0"
    import jax

    return f"cpu:{jax.local_devices(backend='cpu')[0].id}"


def device_names() -> list[str]:
    """Return what the backend calls the devices that it computes on: its GPUs where it has any, else its CPUs."""
    import keras

    backend = keras.backend.backend()
    return _DEVICES[backend](has_gpu()) if backend in _DEVICES else ["cpu:0"]


def _tensorflow_devices(gpu: bool) -> list[str]:
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU" if gpu else "CPU")]


def _jax_devices(gpu: bool) -> list[str]:
    import keras

    return keras.distribution.list_devices("gpu" if gpu else "cpu")


_DEVICES = {"tensorflow": _tensorflow_devices, "jax": _jax_devices}


@contextmanager
def spread_over(count: int) -> Iterator[None]:
    """Have what is built and trained within this spread over `count` devices, each with a part of a batch.

    Raises:
        InputError: there are fewer devices; or processes that train together have more.
    """
    if count == hosts.count() == 1:
        yield
        return
    import keras

    names = device_names()
    backend = keras.backend.backend()
    if hosts.count() > 1 and len(names) != count:
        raise InputError(
            f"devices: expected the {len(names)} that the {hosts.count()} processes have, found {count}; add "
            f"`devices={len(names)}`."
        )
    if len(names) < count or backend not in _SPREAD:
        raise InputError(f"devices: expected at most the {len(names)} of this host, found {count}; ask for fewer.")
    with _SPREAD[backend](names[:count]):
        yield


def accumulates_on_devices() -> bool:
    """Return whether gradients of several batches can be added on several devices."""
    import keras

    # Keras' optimisers choose between adding and applying within a condition, where MirroredStrategy cannot synchronise.
    return keras.backend.backend() != "tensorflow"


def _mirrored(names: list[str]) -> AbstractContextManager[Any]:
    return _mirrored_strategy(tuple(names)).scope()


@functools.cache
def _mirrored_strategy(names: tuple[str, ...]) -> Any:
    # A second one in the same process would take the first one's messages for its own.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


@contextmanager
def _data_parallel(names: list[str]) -> Iterator[None]:
    import keras

    former = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names, auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(former)


_SPREAD = {"tensorflow": _mirrored, "jax": _data_parallel}


def replicas() -> int:
    """Return over how many replicas the current computation is spread by `tf.distribute`."""
    # Without TensorFlow there is one; TensorFlow is not loaded to find out.
    tf = sys.modules.get("tensorflow")
    context = tf.distribute.get_replica_context() if tf and hasattr(tf, "distribute") else None
    return context.num_replicas_in_sync if context else 1


def summed_over_replicas(values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return every value summed over the replicas; gradients pass through."""
    if replicas() == 1:
        return values
    import tensorflow as tf

    return tuple(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(values)))
