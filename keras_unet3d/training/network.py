"""The network as it is trained: the weights of the one that is kept, with fewer operations and more to learn from."""

from collections.abc import Callable
from math import prod
from typing import Any

import keras
from keras import ops

from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.geometry import triple
from keras_unet3d.machine import devices
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.training import fused


class Trained(keras.Model):
    """A network in training: augments its batches first, and may be supervised at several levels.

    Attributes:
        augmentation: applied to every training batch on the device, compiled with the step; None where the host did it.
        supervision: the loss of the outputs behind the first one, which are logits of lower levels at full size; None
            where there are none.
        teacher: a function from x to probabilities, whose cross-entropy is added to the loss; None for labels alone. A function,
            as a layer would be saved, and trained, with the network.
    """

    augmentation: Augmentation | None = None
    supervision: keras.losses.Loss | None = None
    teacher: Callable[[Any], Any] | None = None

    def train_step(self, *arguments: Any) -> Any:
        if self.augmentation is None:
            return super().train_step(*arguments)
        # The batch comes last on every backend; before it, on some, the state.
        *state, batch = arguments
        return super().train_step(*state, self.augmentation(batch))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        first, *lower = [y_pred] if self.supervision is None else y_pred
        loss = super().compute_loss(x, y, first, sample_weight, training)
        if not training:
            return loss
        if self.teacher is not None:
            loss += _crossentropy(self.teacher(x), first)
        if self.supervision is None:
            return loss
        # Every level half as important as the one above it (Isensee et al. 2021, nnU-Net).
        factors = [0.5 ** (1 + number) for number in range(len(lower))]
        for factor, logits in zip(factors, lower, strict=True):
            loss += factor * self.supervision(y, logits, sample_weight)
        return loss / (1.0 + sum(factors))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return super().compute_metrics(x, y, y_pred if self.supervision is None else y_pred[0], sample_weight)


def _crossentropy(probabilities: Any, logits: Any) -> Any:
    """Return the cross-entropy of probabilities with logits `(batch, z, y, x, classes)`, the mean over voxels, of this replica."""
    of_voxels = keras.losses.categorical_crossentropy(probabilities, ops.cast(logits, "float32"), from_logits=True)
    return ops.mean(of_voxels) / devices.replicas()


def trained_network(
    model: keras.Model,
    loss: keras.losses.Loss,
    deep_supervision: bool,
    augmentation: Augmentation | None,
    teacher: Callable[[Any], Any] | None = None,
) -> Trained:
    """Return the network that is trained in the place of `model`, whose weights it shares.

    Deep supervision is for networks of padding "same": the outputs of all levels then cover the same region.
    """
    architecture = architecture_of(model)
    levels = range(1, architecture.depth - 1) if deep_supervision else ()
    blocks = [model.get_layer(f"synthesis_{level}_relu_1").output for level in levels]
    plain = keras.Model(model.input, [model.get_layer("logits").output, *blocks])
    quicker = keras.models.clone_model(plain, clone_function=_quicker)
    logits, *blocks = quicker.outputs
    lower = [_lower_logits(block, architecture, level) for block, level in zip(blocks, levels, strict=True)]
    trained = Trained(quicker.inputs, [logits, *lower] if lower else logits, name=f"{model.name}_trained")
    # By it Keras knows that the loss is to be scaled: float16 has few exponents.
    trained.dtype_policy = model.dtype_policy
    trained.augmentation = augmentation
    trained.supervision = loss if lower else None
    trained.teacher = teacher
    return trained


def _lower_logits(block: Any, architecture: Architecture, level: int):
    """Return the logits of a lower level repeated to full size: labels, a slice of them, cannot be made smaller."""
    head = keras.layers.Conv3D(
        architecture.num_classes,
        1,
        kernel_initializer=keras.initializers.HeNormal(seed=level),
        dtype="float32",
        name=f"logits_{level}",
    )
    size = triple(prod(pool[axis] for pool in architecture.geometry.pool_sizes[:level]) for axis in range(3))
    return keras.layers.UpSampling3D(size, dtype="float32", name=f"logits_{level}_repeated")(head(block))


def _quicker(layer: keras.Layer) -> keras.Layer:
    """Return the layer itself, or what takes its place in training."""
    if isinstance(layer, keras.layers.BatchNormalization) and fused.can_fuse_normalization():
        return FusedBatchNormalization(layer)
    return layer


class FusedBatchNormalization(keras.layers.Layer):
    """A batch normalisation computed by one operation instead of a dozen passes over the features; same weights.

    Under several replicas its statistics are those of the whole batch.
    """

    def __init__(self, plain: keras.layers.BatchNormalization):
        # The statistics and what is computed of them stay in float32.
        super().__init__(name=plain.name, dtype=plain.dtype_policy, autocast=False)
        self.plain = plain

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        plain = self.plain
        if not (training and plain.trainable):
            return plain(inputs, training=False)
        outputs, mean, variance = fused.normalized_batch(inputs, plain.gamma, plain.beta, plain.epsilon)
        for moving, current in ((plain.moving_mean, mean), (plain.moving_variance, variance)):
            moving.assign(moving * plain.momentum + current * (1.0 - plain.momentum))
        return outputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
