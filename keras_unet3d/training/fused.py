"""Operations of a training step that Keras has no name for, per backend: normalisation in one pass, gradients without a step."""

from collections.abc import Callable
from typing import Any

from keras_unet3d.machine.devices import replicas, summed_over_replicas


def can_fuse_normalization() -> bool:
    """Return whether `normalized_batch` exists on this backend."""
    import keras

    return keras.backend.backend() == "tensorflow"


def normalized_batch(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Return `x` `(batch, z, y, x, channels)` normalised over all but its channels, and mean and variance, float32.

    TensorFlow only: its fused operation knows images alone, so z and y are taken as one axis. Under replicas mean and
    variance are those of the whole batch.
    """
    import tensorflow as tf

    gamma, beta = (tf.convert_to_tensor(variable, tf.float32) for variable in (gamma, beta))
    if replicas() > 1:
        x32 = tf.cast(x, tf.float32)
        voxels = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
        axes = tuple(range(len(x.shape) - 1))
        count, total = summed_over_replicas((voxels, tf.reduce_sum(x32, axes)))
        mean = total / count
        (squares,) = summed_over_replicas((tf.reduce_sum(tf.square(x32 - mean), axes),))
        variance = squares / count
        y = tf.nn.batch_normalization(x32, mean, variance, beta, gamma, epsilon)
        return tf.cast(y, x.dtype), mean, variance
    shape = tf.shape(x)
    flat = tf.reshape(x, (shape[0], -1, shape[3], x.shape[-1]))
    nothing = tf.constant([], tf.float32)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=gamma, offset=beta, mean=nothing, variance=nothing, epsilon=epsilon, is_training=True
    )
    # The operation divides the squares by one less than their number.
    count = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
    return tf.ensure_shape(tf.reshape(y, shape), x.shape), mean, variance * (count - 1) / count


def loss_and_gradients(model: Any) -> tuple[Callable, Callable]:
    """Return two functions of `(x, y, w)`, compiled for a compiled model: the loss in training, and the gradients of all trained weights."""
    import keras

    return _DIFFERENTIATED[keras.backend.backend()](model)


def _differentiated_by_tensorflow(model: Any) -> tuple[Callable, Callable]:
    import tensorflow as tf

    def forward(x, y, w):
        return model.compute_loss(x, y, model(x, training=True), w)

    def gradients(x, y, w):
        with tf.GradientTape() as tape:
            value = forward(x, y, w)
        # Their sums are enough to have all of them computed.
        all_gradients = tape.gradient(value, model.trainable_variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in all_gradients if gradient is not None])

    return tf.function(forward), tf.function(gradients)


def _differentiated_by_jax(model: Any) -> tuple[Callable, Callable]:
    import jax

    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]

    def value(variables, x, y, w):
        return model.compute_loss(x, y, model.stateless_call(variables, fixed, x, training=True)[0], w)

    forward, gradients = jax.jit(value), jax.jit(jax.grad(value))
    return (lambda x, y, w: forward(trained, x, y, w)), (lambda x, y, w: gradients(trained, x, y, w))


_DIFFERENTIATED = {"tensorflow": _differentiated_by_tensorflow, "jax": _differentiated_by_jax}
