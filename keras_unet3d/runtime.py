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


def load_tensorflow_quietly() -> None:
    """Import TensorFlow without its start-up notes; for the command line, whose error is one sentence.

    The notes are written by C++ code straight to file descriptor 2. If the import fails they are shown.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        terminal = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def has_gpu() -> bool:
    """Return whether TensorFlow sees a GPU, and let its memory grow as needed instead of all at once."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # The device is in use already: its memory policy is the caller's.
            break
    return bool(gpus)


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


def graph_function(function: Callable) -> Callable:
    """Return `function`, of arrays of any sizes, as one compiled graph where the Keras backend is TensorFlow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # Shapes differ from call to call: trace once for all of them, and leave XLA, which would compile each, alone.
    return tf.function(function, reduce_retracing=True, jit_compile=False)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("keras-unet3d", "tensorflow", "keras", "numpy", "elasticdeform", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
