"""What a training step costs: memory and arithmetic, read off the network before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import keras

from keras_unet3d.geometry import Triple, triple
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.copies import can_fold
from keras_unet3d.network.unet import build

# Layers whose output is kept for the backward pass; the output of any other shares its memory with one of them.
_KEPT = (
    "Conv3D",
    "Conv3DTranspose",
    "ReLU",
    "Concatenate",
    "MaxPooling3D",
    "UpSampling3D",
    "Add",
    "Multiply",
    "Maximum",
    "Dropout",
)
# The gradients under way and the scratch memory of the convolutions, as a multiple of the largest features.
_UNDER_WAY = 4
_FLOAT = 4
# Of a prediction: what the allocator holds on top of the features, as a factor (measured), and the size of the tile whose
# features are counted, in which the share of borders is small.
_OVERHEAD = 1.15
_TILE = 128
_CONVOLUTIONS = (keras.layers.Conv3D, keras.layers.Conv3DTranspose)


@dataclass(frozen=True)
class Costs:
    """What one training step costs.

    Attributes:
        parameters: bytes of the weights, their gradients, and what the optimiser keeps for them.
        activations: bytes of the features that the backward pass needs, and of the gradients under way.
        flops: floating-point operations of the convolutions, forward and backward.
        forward: floating-point operations of the forward pass alone.
    """

    parameters: int
    activations: int
    flops: int
    forward: int

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.parameters + self.activations


def step_costs(architecture: Architecture, patch: Triple, batch_size: int, policy: str, copies: int = 4) -> Costs:
    """Return what a training step costs.

    Args:
        architecture: of the network.
        patch: its input (z, y, x), legal.
        batch_size: patches per step.
        policy: Keras dtype policy; half precision halves the features, not the weights.
        copies: arrays of the weights' size that a training has: the weights, the gradients, and those of the optimiser.
    """
    model = build(replace(architecture, input_shape=(*patch, architecture.input_shape[3])))
    value = _bytes(policy)
    features = [prod(layer.output.shape[1:]) for layer in model.layers if type(layer).__name__ in _KEPT]
    forward = sum(_forward_flops(layer) for layer in model.layers) * batch_size
    # The first convolution has no input to pass a gradient to.
    first = _forward_flops(model.get_layer("analysis_0_conv_0")) * batch_size
    return Costs(
        parameters=model.count_params() * _FLOAT * copies,
        activations=batch_size * value * (sum(features) + _UNDER_WAY * max(features)),
        flops=3 * forward - first,
        forward=forward,
    )


def _forward_flops(layer: keras.Layer) -> int:
    """Return multiplications and additions of a convolution for one patch; 0 for any other layer."""
    if isinstance(layer, keras.layers.Conv3DTranspose):
        return 2 * prod(layer.kernel.shape) * prod(layer.input.shape[1:4])
    if isinstance(layer, keras.layers.Conv3D):
        return 2 * prod(layer.kernel.shape) * prod(layer.output.shape[1:4])
    return 0


def inference_bytes(architecture: Architecture, policy: str = "float32") -> float:
    """Return the bytes per voxel of a tile that a prediction takes at its peak, by a Keras dtype `policy`.

    At that moment memory holds the features that are still needed, and the copies that a convolution makes of those it
    works on, in a layout of its own. Batch normalisation is taken to be within the convolutions.
    """
    plain = "none" if can_fold(architecture) else architecture.normalization
    tile = triple(architecture.geometry.legal_at_least(_TILE, axis) for axis in range(3))
    single = replace(architecture, input_shape=(*tile, architecture.input_shape[3]), normalization=plain, networks=1)
    model = build(single)
    # Padding is an operation without being a layer.
    layers = model.operations
    inputs = [_sizes(keras.tree.flatten(layer.input)) for layer in layers]
    alive: dict[str, int] = {}
    most = 0
    for position, layer in enumerate(layers):
        output = _sizes([layer.output])
        alive |= output
        copied = inputs[position] | output if isinstance(layer, _CONVOLUTIONS) else {}
        most = max(most, sum(alive.values()) + sum(copied.values()))
        needed = set().union(*inputs[position + 1 :])
        alive = {name: size for name, size in alive.items() if name in needed}
    return _OVERHEAD * _bytes(policy) * most / prod(tile)


def _bytes(policy: str) -> int:
    """Return the bytes of a value of the features."""
    return _FLOAT if policy == "float32" else _FLOAT // 2


def _sizes(features: Sequence[keras.KerasTensor]) -> dict[str, int]:
    """Return the number of values per patch in features, by name."""
    return {tensor.name: prod(tensor.shape[1:]) for tensor in features}
