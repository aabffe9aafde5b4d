"""The number format of a training, and Keras' dtype policy."""

from collections.abc import Iterator
from contextlib import contextmanager

from keras_unet3d.machine.devices import has_gpu


def resolve_precision(precision: str) -> str:
    """Return the Keras dtype policy for one of `choices.PRECISIONS`; "auto" is float16 on GPUs with tensor cores, else float32."""
    if precision != "auto":
        return precision
    return "mixed_float16" if _has_tensor_cores() else "float32"


def _has_tensor_cores() -> bool:
    """Return whether all GPUs multiply half precision in hardware of its own: NVIDIA's compute capability 7 or more."""
    import keras

    if not has_gpu():
        return False
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
    return all(capability is None or capability >= (7, 0) for capability in capabilities)


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Make `policy` Keras' global dtype policy, and restore the former one afterwards."""
    import keras

    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
