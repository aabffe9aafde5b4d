"""Which of TensorFlow's CPU kernels are used, and that it starts without a word."""

import os
import sys
import tempfile

from keras_unet3d.errors import InputError

_BACKENDS = ("tensorflow", "jax", "torch")


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
            _import_keras()
        except BaseException as error:
            if not isinstance(error, InputError):
                notes.seek(0)
                os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _import_keras() -> None:
    """Import Keras; raises `InputError` where the backend that the user asks for is none, or is not installed."""
    asked = os.environ.get("KERAS_BACKEND")
    if asked and asked not in _BACKENDS:
        raise InputError(
            f"KERAS_BACKEND: expected one of {', '.join(_BACKENDS)}, found {asked!r}; set one of them, or unset it."
        )
    try:
        import keras  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"KERAS_BACKEND: expected an installed backend, found no package {error.name}; install it, or unset the variable."
        ) from error
