"""A network in another form, with the same weights: up to its logits, in float32, with normalisation folded in."""

from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_unet3d.machine import precision
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import architecture_of, build, members_of

# Smaller probabilities count as this one, the smallest float32 whose reciprocal is finite.
_TINY = 1.2e-38


def logits_model(model: keras.Model) -> keras.Model:
    """Return the model up to its logits; it shares the weights. Losses are most exact from logits.

    Those of an ensemble are the logarithms of its mean probabilities, which are what their softmax returns.
    """
    if len(members_of(model)) > 1:
        return keras.Model(model.input, ops.log(ops.maximum(model.output, _TINY)), name=f"{model.name}_logits")
    return keras.Model(model.input, model.get_layer("logits").output, name=f"{model.name}_logits")


def probabilities_model(model: keras.Model) -> keras.Model:
    """Return the model with probabilities for its output; the model itself where it has them already."""
    if architecture_of(model).output != "logits":
        return model
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(model.input, softmax(model.output), name=model.name)


def float32_copy(model: keras.Model) -> keras.Model:
    """Return the same network in float32; the model itself where it is in float32 already.

    Half-precision pooling has no CPU kernel, so a network trained in mixed precision runs anywhere as this copy.
    """
    if all(layer.compute_dtype == "float32" for member in members_of(model) for layer in member.layers):
        return model
    return _copy_in(model, "float32")


def _copy_in(model: keras.Model, policy: str) -> keras.Model:
    with precision.dtype_policy(policy):
        copy = build(architecture_of(model))
    copy.set_weights(model.get_weights())
    return copy


def folded_copy(model: keras.Model, policy: str = "float32") -> keras.Model:
    """Return the same network for inference, its batch normalisation within the convolutions.

    It computes the same to rounding, with fewer passes over the features. A network of another normalisation, whose
    statistics are those of the input, or of one before the convolutions, which pad what is normalised, stays as it is.

    Args:
        model: made by `build_model`, in float32.
        policy: Keras dtype policy of the copy; "mixed_bfloat16" multiplies in bfloat16.
    """
    architecture = architecture_of(model)
    if not can_fold(architecture):
        return model if policy == "float32" else _copy_in(model, policy)
    with precision.dtype_policy(policy):
        copy = build(replace(architecture, normalization="none"))
    for original, folded in zip(members_of(model), members_of(copy), strict=True):
        _fold(original, folded)
    return copy


def can_fold(architecture: Architecture) -> bool:
    """Return whether the normalisation of a network can be within its convolutions."""
    return architecture.normalization == "batch" and architecture.order == "conv-norm-relu"


def _fold(model: keras.Model, copy: keras.Model) -> None:
    """Give a network without normalisation the weights of one with it."""
    originals = {layer.name: layer for layer in model.layers}
    for layer in copy.layers:
        weights = [ops.convert_to_numpy(weight) for weight in originals[layer.name].weights]
        # By the names that `unet` gives: "analysis_0_conv_1" is normalised by "analysis_0_norm_1".
        normalization = originals.get(layer.name.replace("_conv_", "_norm_")) if "_conv_" in layer.name else None
        if normalization is not None:
            gamma, beta, mean, variance = (ops.convert_to_numpy(weight) for weight in normalization.weights)
            factor = gamma / np.sqrt(variance + normalization.epsilon)
            kernel, bias = weights
            weights = [kernel * factor, (bias - mean) * factor + beta]
        layer.set_weights(weights)
