"""The number format of a training, and Keras' dtype policy."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_text
from keras_unet3d.machine.devices import has_gpu

# Convolutions of fewer channels take as long in bfloat16 (measured with AVX-512).
_WIDE = 16
# For features of so many slices oneDNN's gradient of the weights of a kernel that is 3 deep, padded, reads memory that nobody
# has written (TensorFlow 2.21, a processor with avx512_bf16); of 1, 3 and more it is right, as are y and x of any size.
_WRONG_SLICES = 2


def resolve_precision(precision: str, narrowest: int = 0, slices: Sequence[int] = ()) -> str:
    """Return the Keras dtype policy for one of `choices.PRECISIONS`.

    "auto" is float16 on GPUs with tensor cores; without a GPU it is bfloat16 where the processor multiplies that, the
    `narrowest` convolution has 16 channels or more, and it is right for features of so many `slices` along z; else float32.

    Raises:
        InputError: bfloat16 was asked for where it would be wrong.
    """
    wrong = _WRONG_SLICES in slices and not has_gpu()
    if precision == "mixed_bfloat16" and wrong and _multiplies_bfloat16():
        raise InputError(
            f"precision: expected float32 where a level of the network has {_WRONG_SLICES} slices along z, for which this "
            "processor's gradients in bfloat16 are wrong in TensorFlow, found mixed_bfloat16; change it, or z of `patch`."
        )
    if precision != "auto":
        return precision
    if has_gpu():
        return "mixed_float16" if _has_tensor_cores() else "float32"
    fast = narrowest >= _WIDE and not wrong and _multiplies_bfloat16()
    return "mixed_bfloat16" if fast else "float32"


def _multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware, and TensorFlow's convolutions use that."""
    import keras

    flags = ""
    # Other systems than Linux do not tell in this way.
    with suppress(InputError):
        flags = read_text(Path("/proc/cpuinfo"), "what Linux says of the processor")
    in_hardware = any(f" {flag}" in flags for flag in ("avx512_bf16", "amx_bf16"))
    return in_hardware and keras.backend.backend() == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"


def _has_tensor_cores() -> bool:
    """Return whether all GPUs multiply half precision in hardware of its own: NVIDIA's compute capability 7 or more."""
    import keras

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
