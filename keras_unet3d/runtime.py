"""The one place that touches process-wide state: kernels, precision, memory growth."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def prefer_fast_cpu_kernels() -> None:
    """Switch TensorFlow's oneDNN kernels on unless the user decided, or TensorFlow is loaded already.

    They are off by default on CPUs without AVX-512 VNNI or AMX, where they are three times as fast.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def load_backend_quietly() -> None:
    """Import Keras and its backend without start-up notes; for the command line, whose error is one sentence.

    TensorFlow's are written by C++ code straight to file descriptor 2. If the import fails they are shown.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        terminal = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


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


def resolve_precision(precision: str) -> str:
    """Return the Keras dtype policy for one of `PRECISIONS`; "auto" is float16 on a GPU, else float32."""
    if precision != "auto":
        return precision
    return "mixed_float16" if has_gpu() else "float32"


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


def compiled_for_host(function: Callable) -> Callable:
    """Return `function`, of arrays and dictionaries of them, compiled for the CPU: NumPy arrays in and out.

    XLA compiles it anew for every combination of shapes (0.3 s and more each).
    """
    import keras

    backend = keras.backend.backend()
    compiled = _COMPILERS[backend](function) if backend in _COMPILERS else function

    def call(*arguments):
        # A GPU has better to do, and what it made would have to come back.
        with keras.device("cpu:0"):
            found = compiled(*arguments)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, found, none_is_leaf=False)

    return call


def _compiled_by_tensorflow(function: Callable) -> Callable:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _compiled_by_jax(function: Callable) -> Callable:
    import jax

    return jax.jit(function)


_COMPILERS = {"tensorflow": _compiled_by_tensorflow, "jax": _compiled_by_jax}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("keras-unet3d", "tensorflow", "jax", "keras", "numpy", "elasticdeform", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
