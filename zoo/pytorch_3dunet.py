"""What pytorch-3dunet says of a network, as this package says it: options, grey values, and which tensor is which weight.

Written from the behaviour of pytorch-3dunet 1.9.6 (https://github.com/wolny/pytorch-3dunet).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np

from keras_unet3d.errors import InputError, shortened, shown
from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import MOST_CHANNELS, MOST_LEVELS
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.volumes.grey_values import Normalization, Rescaling

# Their names of networks -> our block.
NETWORKS = {"UNet3D": "plain", "ResidualUNet3D": "projected", "ResidualUNetSE3D": "projected_scse"}
# Order of layers -> normalisation and our order. Dropout, which does nothing in a prediction, is left out before.
ORDERS = {
    "cr": ("none", "conv-norm-relu"),
    "cgr": ("group", "conv-norm-relu"),
    "cbr": ("batch", "conv-norm-relu"),
    "gcr": ("group", "norm-conv-relu"),
    "bcr": ("batch", "norm-conv-relu"),
}
_DROPOUT = str.maketrans("", "", "dD")
# Block and upsampling -> our upsampling and how a skip connection is joined.
_UPSAMPLINGS = {
    ("plain", "default"): ("nearest", "concatenate"),
    ("plain", "nearest"): ("nearest", "concatenate"),
    ("plain", "deconv"): ("overlapping", "concatenate"),
    ("residual", "default"): ("overlapping", "add"),
    ("residual", "deconv"): ("overlapping", "concatenate"),
}
_EPSILON = 1e-5


@dataclass(frozen=True)
class Described(Validated):
    """The entries of `model` in a configuration of pytorch-3dunet that say what the network computes, with its defaults."""

    WHAT = "the model of a configuration of pytorch-3dunet"

    name: str = checked(choices=NETWORKS)
    in_channels: int = checked(least=1, most=MOST_CHANNELS)
    out_channels: int = checked(least=1, most=MOST_CHANNELS)
    f_maps: tuple[int, ...] = checked((64,), least=1, most=MOST_CHANNELS)
    layer_order: str = "gcr"
    num_groups: int = checked(8, least=1)
    num_levels: int | None = checked(None, least=2, most=MOST_LEVELS)
    final_sigmoid: bool = True
    is_segmentation: bool = True
    conv_padding: int = 1
    conv_upscale: int = 2
    pool_kernel_size: int = 2
    upsample: str = "default"

    def faults(self) -> Iterator[str]:
        if not self.f_maps:
            yield "f_maps: expected a number, or one per level, found none."
        if self.layer_order.translate(_DROPOUT) not in ORDERS:
            yield (
                f"layer_order: expected one of {', '.join(ORDERS)}, where c is a convolution, g and b group and batch "
                f"normalisation and r ReLU, found {shortened(self.layer_order)}."
            )
        if (self.kind, self.upsample) not in _UPSAMPLINGS:
            known = ", ".join(word for kind, word in _UPSAMPLINGS if kind == self.kind)
            yield f"upsample: expected one of {known} for {self.name}, found {self.upsample!r}."
        for name, only in (("is_segmentation", True), ("conv_padding", 1), ("pool_kernel_size", 2)):
            if getattr(self, name) != only:
                yield f"{name}: expected {only}, found {getattr(self, name)}; such networks cannot be imported."
        if self.conv_upscale not in (1, 2):
            yield f"conv_upscale: expected 1 or 2, found {self.conv_upscale}."
        if self.out_channels == 1 and not self.final_sigmoid:
            yield "final_sigmoid: expected true for a network of one channel, whose softmax is 1 everywhere; found false."

    @property
    def kind(self) -> str:
        """The kind of blocks: "plain" or "residual"."""
        return "plain" if self.name == "UNet3D" else "residual"

    @property
    def single(self) -> bool:
        """Whether there is one channel: its sigmoid is the softmax of two, of which the first one's logit is 0."""
        return self.out_channels == 1

    @property
    def in_words(self) -> str:
        """Return "UNet3D, layers gcr with 8 groups, 32, 64 filters"."""
        groups = f" with {self.num_groups} groups" if "g" in self.layer_order else ""
        return f"{self.name}, layers {self.layer_order}{groups}, {', '.join(map(str, self.f_maps))} filters"

    @property
    def architecture(self) -> Architecture:
        """The same in our words."""
        levels = self.num_levels or (4 if self.kind == "plain" else 5)
        # One number is doubled from level to level; their defaults differ.
        filters = self.f_maps if len(self.f_maps) > 1 else tuple(self.f_maps[0] * 2**level for level in range(levels))
        normalization, order = ORDERS[self.layer_order.translate(_DROPOUT)]
        upsampling, joining = _UPSAMPLINGS[self.kind, self.upsample]
        before = (self.in_channels, *filters[:-1])
        first = tuple(
            max(narrow, wide // 2 if self.conv_upscale == 2 else wide)
            for narrow, wide in zip(before, filters, strict=True)
        )
        several = "sigmoid" if self.final_sigmoid else "probabilities"
        return Architecture(
            input_shape=(None, None, None, self.in_channels),
            num_classes=2 if self.single else self.out_channels,
            output="probabilities" if self.single else several,
            filters=filters,
            first_filters=first if self.kind == "plain" and first != filters else None,
            depth=len(filters),
            normalization=normalization,
            order=order,
            groups=self.num_groups if normalization == "group" else None,
            epsilon=_EPSILON,
            block=NETWORKS[self.name],
            upsampling=upsampling,
            joining=joining,
        )


def described(entries: Mapping[str, Any], source: str) -> Described:
    """Return what the entries of `model` in a configuration say; what no network is made of is left out."""
    known = {entry.name for entry in fields(Described)}
    # An entry without a value is their way of leaving it out.
    given = {str(key): value for key, value in entries.items() if key in known and value is not None}
    if type(given.get("f_maps")) is int:
        given["f_maps"] = (given["f_maps"],)
    return Described.from_config(given, source)


def recognised(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the entries of `model` that the shapes of the tensors tell, where there is no configuration.

    Raises:
        InputError: tensors of another network.
    """
    name = shortened(next(iter(state)))
    last = r"encoders\.\d+\.basic_module\.(SingleConv2|conv3)\.conv\.weight"
    state = {name: tensor for name, tensor in state.items() if tensor.ndim == _AXES}
    f_maps = [tensor.shape[0] for name, tensor in state.items() if re.fullmatch(last, name)]
    plain = "encoders.0.basic_module.SingleConv1.conv.weight"
    residual = [f"encoders.0.basic_module.{part}.weight" for part in ("conv1", "conv2.conv")]
    first = next((state[name] for name in (plain, *residual) if name in state), None)
    if first is None or not f_maps or "final_conv.weight" not in state:
        raise InputError(
            f"expected a 3D network of pytorch-3dunet ({', '.join(NETWORKS)}), found tensors of another one, like {name!r}."
        )
    excited = any(".se_module." in name for name in state)
    return {
        "name": "UNet3D" if plain in state else "ResidualUNetSE3D" if excited else "ResidualUNet3D",
        "in_channels": first.shape[1],
        "out_channels": state["final_conv.weight"].shape[0],
        "f_maps": f_maps,
        "conv_upscale": 1 if plain in state and first.shape[0] == f_maps[0] else 2,
    }


# ---- grey values ---------------------------------------------------------------------------------


def _standardize(given: Mapping[str, Any], channels: int) -> Normalization:
    if given.get("mean") is not None and given.get("std") is not None:
        return Rescaling("values", given["mean"], given["mean"] + given["std"])
    return "zscore" if channels == 1 or given.get("channelwise") else Rescaling("deviation", pooled=True)


def _percentiles(given: Mapping[str, Any], channels: int) -> Normalization:
    pooled = channels > 1 and not given.get("channelwise")
    return Rescaling("percentiles", given.get("pmin", 1.0), given.get("pmax", 99.6), pooled=pooled)


def _range(given: Mapping[str, Any], channels: int) -> Normalization:
    low, high = given.get("min_value"), given.get("max_value")
    to = (0.0, 1.0) if given.get("norm01") else (-1.0, 1.0)
    if low is None and high is None:
        return Rescaling("percentiles", 0.0, 100.0, to, clip=True, pooled=channels > 1)
    if low is None or high is None:
        raise InputError("Normalize: expected both min_value and max_value, or none of them.")
    return Rescaling("values", low, high, to, clip=True)


def _to_tensor(given: Mapping[str, Any], channels: int) -> Normalization:
    return Rescaling("percentiles", 0.0, 100.0, pooled=channels > 1)


# What their transforms do to grey values.
NORMALIZERS: dict[str, Callable[[Mapping[str, Any], int], Normalization]] = {
    "Standardize": _standardize,
    "PercentileNormalizer": _percentiles,
    "Normalize": _range,
    "ToTensor": _to_tensor,
}


# What else they do to raw volumes in a training, and not in a prediction.
_AUGMENTATIONS = (
    "AdditiveGaussianNoise",
    "AdditivePoissonNoise",
    "CropToFixed",
    "ElasticDeformation",
    "GaussianBlur3D",
    "Identity",
    "RandomContrast",
    "RandomFlip",
    "RandomGammaCorrection",
    "RandomRotate",
    "RandomRotate90",
    "none",
)


def normalization_of(transforms: list[Mapping[str, Any]], channels: int, source: str) -> Normalization:
    """Return what a list of transforms of raw volumes does to grey values; augmentations are left out.

    Raises:
        InputError: several normalisations one after the other, transforms that are not known, or numbers that make none.
    """
    unknown = [each["name"] for each in transforms if each["name"] not in (*NORMALIZERS, *_AUGMENTATIONS)]
    if unknown:
        raise InputError(
            f"{source}: expected transforms of raw volumes that pytorch-3dunet has, found {shortened(unknown[0])!r}; say by "
            "`normalizer` what was done to grey values."
        )
    # `ToTensor` normalises only when it is told to.
    used = [
        each
        for each in transforms
        if each["name"] in NORMALIZERS and (each["name"] != "ToTensor" or each.get("normalize"))
    ]
    if len(used) > 1:
        names = ", ".join(each["name"] for each in used)
        raise InputError(f"{source}: expected one normalisation of the raw volumes, found {names}.")
    try:
        return NORMALIZERS[used[0]["name"]](used[0], channels) if used else "none"
    except (InputError, TypeError) as error:
        given = {key: value for key, value in used[0].items() if key != "name"}
        raise InputError(
            f"{source}: expected numbers in order, which make a range of grey values, for {used[0]['name']}, found {shown(given)}."
        ) from error


# ---- weights -------------------------------------------------------------------------------------

# Of a kernel: output channels, input channels, z, y, x.
_AXES = 5
# Parts of the names of our layers -> of theirs, by the kind of block.
_PARTS = {
    "plain": {
        "conv_0": "SingleConv1.conv",
        "conv_1": "SingleConv2.conv",
        "norm_0": "SingleConv1.{}",
        "norm_1": "SingleConv2.{}",
    },
    "residual": {
        "conv_0": "conv2.conv",
        "conv_1": "conv3.conv",
        "norm_0": "conv2.{}",
        "norm_1": "conv3.{}",
        "shortcut": "conv1",
        "se_reduce": "se_module.cSE.fc1",
        "se_excite": "se_module.cSE.fc2",
        "se_voxels": "se_module.sSE.conv",
    },
}
_NORMALIZATIONS = {"group": "groupnorm", "batch": "batchnorm"}
_WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# (z, y, x, in, out) of Keras out of (out, in, z, y, x); of an up-convolution both have in and out the other way round.
_TO_KERAS = (2, 3, 4, 1, 0)
_COUNTER = "num_batches_tracked"


def refuse_too_few(of: Described, state: Mapping[str, np.ndarray], source: str) -> None:
    """Raise `InputError` where there are far fewer numbers than the network has, whose memory could be any."""
    architecture = of.architecture
    channels = [architecture.channels(level) for level in range(architecture.depth)]
    least, numbers = sum(27 * a * b for a, b in channels), sum(tensor.size for tensor in state.values())
    if least > _TOO_MANY * numbers:
        raise InputError(
            f"{source}: expected the tensors of {of.in_words}, {least:,} numbers or more, found {numbers:,}; {_MEND}."
        )


# With less a tensor of another shape can be named.
_TOO_MANY = 10
_MEND = "give the configuration that it was trained with"


def take_weights(
    model: keras.Model, of: Described, state: Mapping[str, np.ndarray], source: str, told: bool = False
) -> None:
    """Give a network, built from `of`, the tensors of a state dictionary; `told` is whether a configuration says what it is.

    Raises:
        InputError: a tensor that is missing or of another shape, or one that the network has no place for.
    """
    left = {name for name in state if not name.endswith(_COUNTER)}
    whose = f"{source}: expected the tensors of {of.in_words}"
    mend = f"is it another network? If not, {_MEND}" if told else _MEND
    for layer in (layer for layer in model.layers if layer.weights):
        theirs = _their_name(layer.name, of)
        weights = []
        for weight in layer.weights:
            name = f"{theirs}.{_WEIGHTS[weight.name]}"
            halved = layer.name == "logits" and of.single
            shape = (*weight.shape[:-1], 1) if halved else tuple(weight.shape)
            if name not in state and weight.name == "bias" and "_conv_" in layer.name and _has_norm(of):
                # Theirs have none beside a normalisation.
                weights.append(np.zeros(shape, np.float32))
                continue
            try:
                weights.append(_as_keras(state, name, shape, "fc" in theirs))
            except ValueError as error:
                raise InputError(f"{whose}, found {error}; {mend}.") from error
            if halved:
                weights[-1] = np.concatenate([np.zeros_like(weights[-1]), weights[-1]], axis=-1)
            left.discard(name)
        layer.set_weights(weights)
    if left:
        raise InputError(f"{whose}, found {shortened(min(left))!r} too; {mend}.")


def _has_norm(of: Described) -> bool:
    return of.architecture.normalization != "none"


def _their_name(layer: str, of: Described) -> str:
    """Return what they call one of our layers."""
    if layer == "logits":
        return "final_conv"
    path, level, *part = layer.split("_", 2)
    decoder = of.architecture.depth - 2 - int(level)
    if path == "up":
        return f"decoders.{decoder}.upsampling.upsample.conv_transposed"
    block = f"encoders.{level}" if path == "analysis" else f"decoders.{decoder}"
    within = _PARTS[of.kind][part[0]].format(_NORMALIZATIONS.get(of.architecture.normalization))
    return f"{block}.basic_module.{within}"


def _as_keras(state: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], dense: bool) -> np.ndarray:
    """Return a tensor in the shape that Keras has; `dense` ones, of a layer without axes, get those of one voxel.

    Raises:
        ValueError: none of that name and shape, or numbers that are none; its message says what there is.
    """
    expected = shape
    if len(shape) == _AXES:
        expected = (shape[4], shape[3]) + (() if dense else shape[:3])
    if name not in state:
        raise ValueError(f"none that is called {name!r}, but others like {shortened(next(iter(state)))!r}")
    if state[name].shape != expected:
        raise ValueError(f"the shape {state[name].shape} of {name!r} in the place of {expected}")
    with np.errstate(over="ignore"):
        tensor = state[name].astype(np.float32)
    if not np.isfinite(tensor).all():
        raise ValueError(f"numbers in {name!r} that are none (NaN or infinite)")
    return tensor.reshape(*expected[:2], *shape[:3]).transpose(_TO_KERAS) if len(shape) == _AXES else tensor
