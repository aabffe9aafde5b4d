"""Functions of arrays, compiled for the CPU."""

from collections.abc import Callable


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
