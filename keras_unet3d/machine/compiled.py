"""Functions of arrays, compiled for the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_unet3d.machine import devices


def compiled_for_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, of arrays and dictionaries of them, compiled for the CPU: NumPy arrays in and out.

    XLA compiles it anew for every combination of shapes (0.3 s and more each).
    """
    import keras

    backend = keras.backend.backend()
    compiled = _COMPILERS[backend](function) if backend in _COMPILERS else function

    def call(*arguments: Any) -> Any:
        # A GPU is busy with the network, and its results would have to be copied back.
        with keras.device(devices.own_processor()):
            results = compiled(*arguments)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, results, none_is_leaf=False)

    return call


def _compiled_by_tensorflow(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _compiled_by_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(function)


_COMPILERS = {"tensorflow": _compiled_by_tensorflow, "jax": _compiled_by_jax}


def compiled_network(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a Keras model as a function from array to array, whose memory, unlike that of `predict`, does not grow in loops."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda batch: keras.ops.convert_to_numpy(model(batch, training=False))
    import tensorflow as tf

    signature = [tf.TensorSpec(model.inputs[0].shape, "float32")]
    # XLA is slow for 3-D convolutions on the CPU, and every new tile size would compile again.
    function = tf.function(lambda batch: model(batch, training=False), signature, jit_compile=False)
    return lambda batch: function(tf.convert_to_tensor(batch)).numpy()
