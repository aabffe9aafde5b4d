"""The 3D U-Net (Çiçek et al. 2016, section 2) as a functional Keras graph."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from math import gcd
from typing import Any, cast

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.fields import MOST_SEED
from keras_unet3d.geometry import CONVOLUTIONS, Triple, triple
from keras_unet3d.network.architecture import Architecture

# Groups of a group normalisation, where the number of channels is a multiple of it.
_MOST_GROUPS = 8
# Blocks of two convolutions with a way around them, and by which factor their squeeze-and-excitation has fewer channels inside.
_SQUEEZE = {"residual_se": 4, "projected_scse": 1}
_PROJECTED = ("projected", "projected_scse")
# Seeds that the layers of one network of an ensemble may take.
_SEEDS = 10**4
# Keras' default of 0.99 needs hundreds of steps before the moving statistics are those of the network.
_MOMENTUM = 0.95


def _group_normalization(channels: int, architecture: Architecture, name: str) -> keras.Layer:
    groups = architecture.groups
    if groups is None:
        groups = gcd(_MOST_GROUPS, channels)
    elif channels < groups:
        groups = 1
    if channels % groups:
        raise InputError(f"groups: expected a divisor of {channels}, the channels of {name}, found {groups}.")
    return keras.layers.GroupNormalization(groups=groups, axis=1, epsilon=architecture.epsilon, name=name)


_NORMALIZATION_LAYERS: dict[str, Callable[[int, Architecture, str], keras.Layer] | None] = {
    "batch": lambda channels, architecture, name: keras.layers.BatchNormalization(
        momentum=_MOMENTUM, epsilon=architecture.epsilon, name=name
    ),
    # One group per channel: what batch normalisation with current statistics is for a batch of one.
    "instance": lambda channels, architecture, name: keras.layers.GroupNormalization(
        groups=-1, axis=1, epsilon=architecture.epsilon, name=name
    ),
    "group": _group_normalization,
    "none": None,
}


_NORMALIZING = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)


def build_model(
    input_shape: tuple[int | None, ...] = (None, None, None, 1),
    num_classes: int = 2,
    base_filters: int = 32,
    depth: int = 4,
    padding: str = "same",
    normalization: str = "batch",
    block: str = "plain",
    kernel_sizes: Sequence[Triple] | None = None,
    pool_sizes: Sequence[Triple] | None = None,
    upsampling: str = "transpose",
    dropout: float = 0.0,
    l2: float = 0.0,
    output: str = "probabilities",
    seed: int | None = None,
    name: str = "unet3d",
    filters: Sequence[int] | None = None,
    networks: int = 1,
    order: str = "conv-norm-relu",
    groups: int | None = None,
    epsilon: float = 1e-3,
    joining: str = "concatenate",
    first_filters: Sequence[int] | None = None,
) -> keras.Model:
    """Return an uncompiled functional 3D U-Net: `(batch, z, y, x, channels)` in, one map per class out.

    Args:
        input_shape: `(z, y, x, channels)`; a size may be `None`. Illegal fixed sizes are refused.
        num_classes: number of output channels.
        base_filters: channels of the first convolution; level l has `base * 2**l` and `base * 2**(l + 1)`.
        depth: resolution steps, the bottom included; the paper has 4.
        padding: "same" (sizes are multiples of the pooling) or "valid" (the paper's; the output is smaller).
        normalization: "batch", "instance", "group" (see `groups`) or "none".
        block: "plain", "residual", or "residual_se" (residual with squeeze-and-excitation); "projected" is residual, too, but a
            1x1x1 convolution comes before everything else, where channels change, and "projected_scse" excites channels
            and voxels after the last ReLU (Roy et al. 2018).
        kernel_sizes: one odd triple per level; `None` is 3 everywhere. `[(1, 3, 3)] * depth` and
            `pool_sizes=[(1, 2, 2)] * (depth - 1)` make a 2D U-Net.
        pool_sizes: one triple per level; the bottom level, which has no pooling, may be left out.
        upsampling: "transpose" (up-convolution), "overlapping" (one whose kernel reaches into the voxel before: 3 for a
            pooling of 2), "interpolate" (nearest neighbour, then 1x1x1 convolution) or "nearest" (nearest neighbour alone).
        dropout: share of activations dropped after every block.
        l2: weight decay on the kernels, added to the loss.
        output: "probabilities" (softmax), "logits", or "sigmoid" (a probability per channel, of classes that may overlap);
            float32 under every dtype policy.
        seed: makes the initial weights reproducible.
        name: the model's name.
        filters: channels per level, all convolutions of a level alike, in the place of `base_filters` and its
            doubling within and between levels; narrow up-convolutions too. `(8, 32, 64, 128)`, with depth 4,
            costs less time than `base_filters=8` with depth 3 and has five times its parameters.
        networks: that many of them side by side, an ensemble: the output is the mean of their probabilities.
        order: "conv-norm-relu", or "norm-conv-relu", where a block's first normalisation sees what is joined.
        groups: of a group normalisation; one where there are fewer channels. `None`: up to 8, a divisor of the channels.
        epsilon: what normalisations add to the variance.
        joining: "concatenate", or "add": the skip connection is added to an up-convolution of as many channels.
        first_filters: channels of the first convolution of every analysis block, where they are not those of `filters`.

    Returns:
        A `keras.Model`; output `(batch, z', y', x', num_classes)`, float32.

    Raises:
        InputError: a `ValueError` that names the argument, what was expected and what was found.

    Source: Çiçek et al. 2016 (arXiv:1606.06650), section 2. With `input_shape=(132, 132, 116, 3)`,
    `num_classes=3`, `padding="valid"` it is the paper's network, 19,069,955 parameters before normalisation.
    """
    # Lists become tuples in it.
    architecture = Architecture(
        input_shape=input_shape,
        num_classes=num_classes,
        base_filters=base_filters,
        depth=depth,
        padding=padding,
        normalization=normalization,
        block=block,
        kernel_sizes=cast("tuple[Triple, ...] | None", kernel_sizes),
        pool_sizes=cast("tuple[Triple, ...] | None", pool_sizes),
        upsampling=upsampling,
        dropout=dropout,
        l2=l2,
        output=output,
        seed=seed,
        name=name,
        filters=cast("tuple[int, ...] | None", filters),
        networks=networks,
        order=order,
        groups=groups,
        epsilon=epsilon,
        joining=joining,
        first_filters=cast("tuple[int, ...] | None", first_filters),
    )
    return build(architecture)


def build(architecture: Architecture) -> keras.Model:
    """Return the network that `architecture` describes."""
    if architecture.networks > 1:
        return _side_by_side(
            [build(_member(architecture, number)) for number in range(architecture.networks)], architecture
        )
    parts = _Parts(architecture, _seeds(architecture.seed))
    inputs = keras.Input(architecture.input_shape, name="volume")
    bottom = architecture.depth - 1
    x, skips = inputs, []
    for level in range(architecture.depth):
        x = parts.block(x, architecture.channels(level), level, f"analysis_{level}")
        if level < bottom:
            skips.append(x)
            x = keras.layers.MaxPooling3D(architecture.geometry.pool_sizes[level], name=f"pool_{level}")(x)
    for level in reversed(range(bottom)):
        _, wide = architecture.channels(level)
        x = parts.up(x, level)
        x = parts.joined(parts.cropped(skips[level], level), x, level)
        x = parts.block(x, (wide, wide), level, f"synthesis_{level}")
    outputs = parts.head(x)
    return keras.Model(inputs, outputs, name=architecture.name)


def _member(architecture: Architecture, number: int) -> Architecture:
    """Return the architecture of one network of an ensemble, with initial weights of its own."""
    seed = None if architecture.seed is None else (architecture.seed + number * _SEEDS) % MOST_SEED
    return replace(architecture, networks=1, name=f"network_{number + 1}", seed=seed)


def _side_by_side(members: Sequence[keras.Model], architecture: Architecture) -> keras.Model:
    """Return networks of one input as one model, of built-in layers alone: the mean of their probabilities."""
    inputs = keras.Input(architecture.input_shape, name="volume")
    mean = keras.layers.Average(dtype="float32", name="probabilities")
    return keras.Model(inputs, mean([member(inputs) for member in members]), name=architecture.name)


def members_of(model: keras.Model) -> list[keras.Model]:
    """Return the networks whose probabilities a model averages; of a single network, that one."""
    members = [layer for layer in getattr(model, "layers", ()) if isinstance(layer, keras.Model)]
    averages = any(isinstance(layer, keras.layers.Average) for layer in getattr(model, "layers", ()))
    return members if averages and members else [model]


def ensemble(models: Sequence[keras.Model]) -> keras.Model:
    """Return the model that averages the probabilities of networks made by `build_model`; its weights are copies.

    Raises:
        InputError: fewer than two networks, or networks of different architectures.
    """
    first, *others = architectures = [replace(architecture_of(model), name="unet3d") for model in models]
    for number, other in enumerate(others, 2):
        differing = [part.name for part in fields(first) if getattr(first, part.name) != getattr(other, part.name)]
        if differing:
            what = differing[0]
            raise InputError(
                f"ensemble: expected networks of one architecture, found {what} {getattr(first, what)} in the first and "
                f"{getattr(other, what)} in network {number}; train them with the same options."
            )
    if not others or first.networks > 1:
        found = "one" if not others else f"{len(models)} ensembles"
        raise InputError(f"ensemble: expected two networks or more to average, found {found}.")
    model = build(replace(first, networks=len(architectures)))
    for member, original in zip(members_of(model), models, strict=True):
        member.set_weights(original.get_weights())
    return model


def _seeds(first: int | None) -> Iterator[int | None]:
    """Return a seed for every layer, one after the other; None for random ones."""
    return itertools.repeat(None) if first is None else itertools.count(first)


def architecture_of(model: keras.Model) -> Architecture:
    """Return what a network made by `build_model` was built from, read off its layers.

    Raises:
        InputError: the model was not made by `build_model`.
    """
    members = members_of(model)
    if len(members) > 1:
        return replace(architecture_of(members[0]), networks=len(members), name=model.name)
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    try:
        first = layers["analysis_0_conv_0"]
        depth = 1 + sum(name.startswith("pool_") for name in layers)
        return Architecture(
            input_shape=tuple(model.input_shape[1:]),
            num_classes=layers["logits"].filters,
            base_filters=first.filters,
            depth=depth,
            padding=first.padding,
            **_normalization_of([layer for layer in layers.values() if isinstance(layer, _NORMALIZING)]),
            order=_order_of([layer.name for layer in model.layers]),
            block=_block_of(layers),
            kernel_sizes=tuple(triple(layers[f"analysis_{level}_conv_0"].kernel_size) for level in range(depth)),
            pool_sizes=tuple(triple(layers[f"pool_{level}"].pool_size) for level in range(depth - 1)),
            upsampling=_upsampling_of(layers),
            joining="add" if "join_0" in layers else "concatenate",
            dropout=layers["analysis_0_dropout"].rate if "analysis_0_dropout" in layers else 0.0,
            l2=float(first.kernel_regularizer.l2) if first.kernel_regularizer else 0.0,
            output=_output_of(layers.get("probabilities")),
            name=model.name,
            **_filters_of(layers, depth),
        )
    except (KeyError, AttributeError) as error:
        raise InputError(
            f"model {getattr(model, 'name', model)!r}: expected a network made by build_model, found other layers; "
            "pass a plain function instead."
        ) from error


def _block_of(layers: dict[str, keras.Layer]) -> str:
    if "analysis_0_add" not in layers:
        return "plain"
    if "analysis_0_scse" in layers:
        return "projected_scse"
    if "analysis_0_se_scale" in layers:
        return "residual_se"
    # Whether what the shortcut makes goes through the convolutions, too; where channels never change, both are the same.
    blocks = [name.removesuffix("_shortcut") for name in layers if name.endswith("_shortcut")]
    firsts = [layers.get(f"{name}_{part}") for name in blocks for part in ("norm_0_first", "norm_0", "conv_0")]
    taken = {first.input.name for first in firsts if first is not None}
    return "projected" if taken & {layers[f"{name}_shortcut"].output.name for name in blocks} else "residual"


def _upsampling_of(layers: dict[str, Any]) -> str:
    if "interpolate_0" in layers:
        return "interpolate" if "up_0" in layers else "nearest"
    return "overlapping" if "up_0" in layers and layers["up_0"].kernel_size != layers["up_0"].strides else "transpose"


def _output_of(layer: keras.Layer | None) -> str:
    if layer is None:
        return "logits"
    return "probabilities" if isinstance(layer, keras.layers.Softmax) else "sigmoid"


def _filters_of(layers: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return the channels per level; nothing where they double within and between levels, as they do from `base_filters`."""
    pairs = [tuple(layers[f"analysis_{level}_conv_{i}"].filters for i in range(CONVOLUTIONS)) for level in range(depth)]
    base = pairs[0][0]
    # Up-convolutions are as wide as what they are of, or as `filters` say.
    narrow = "up_0" in layers and layers["up_0"].filters == base * 2 and "join_0" not in layers
    if pairs == [(base * 2**level, base * 2 ** (level + 1)) for level in range(depth)] and not narrow:
        return {}
    first, second = (tuple(channels) for channels in zip(*pairs, strict=True))
    return {"filters": second} | ({"first_filters": first} if first != second else {})


def _order_of(names: Sequence[str]) -> str:
    normalized = "analysis_0_norm_0" in names
    before = normalized and names.index("analysis_0_norm_0") < names.index("analysis_0_conv_0")
    return "norm-conv-relu" if before else "conv-norm-relu"


def _normalization_of(layers: Sequence[Any]) -> dict[str, Any]:
    """Return the kind of normalisation, its groups and its epsilon."""
    if not layers:
        return {"normalization": "none"}
    shared = {"epsilon": layers[0].epsilon}
    if isinstance(layers[0], keras.layers.BatchNormalization):
        return {"normalization": "batch"} | shared
    groups = {layer.gamma.shape[0]: layer.groups for layer in layers}
    # A built layer has replaced -1 by the number of channels.
    if all(channels == of_them for channels, of_them in groups.items()):
        return {"normalization": "instance"} | shared
    shared["normalization"] = "group"
    if all(of_them == gcd(_MOST_GROUPS, channels) for channels, of_them in groups.items()):
        return shared
    return shared | {"groups": max(groups.values())}


@dataclass(frozen=True)
class _Parts:
    """The pieces of the graph; every layer draws its initial weights from the next seed."""

    architecture: Architecture
    seeds: Iterator[int | None]

    def block(self, x: keras.KerasTensor, filters: tuple[int, int], level: int, name: str) -> keras.KerasTensor:
        """The convolutions of one level on one path."""
        kind, kernel = self.architecture.block, self.architecture.geometry.kernel_sizes[level]
        plain, before = kind == "plain", self.architecture.order == "norm-conv-relu"
        if kind in _PROJECTED:
            x = self.widened(x, filters[-1], name)
        shortcut = x
        for i in range(CONVOLUTIONS):
            if before:
                x = self.normalized(x, f"{name}_norm_{i}")
            x = self.conv(x, filters[i], kernel, f"{name}_conv_{i}")
            if not before:
                x = self.normalized(x, f"{name}_norm_{i}")
            if plain or i < CONVOLUTIONS - 1:
                x = keras.layers.ReLU(name=f"{name}_relu_{i}")(x)
        if kind == "residual_se":
            x = self.excited(x, f"{name}_se")
        if not plain:
            x = keras.layers.Add(name=f"{name}_add")([x, self.shortcut(shortcut, x.shape[-1], level, name)])
            x = keras.layers.ReLU(name=f"{name}_relu_{CONVOLUTIONS - 1}")(x)
        if kind == "projected_scse":
            gate = self.conv(x, 1, (1, 1, 1), f"{name}_se_voxels", activation="sigmoid")
            voxels = keras.layers.Multiply(name=f"{name}_se_voxels_scale")([x, gate])
            x = keras.layers.Maximum(name=f"{name}_scse")([self.excited(x, f"{name}_se"), voxels])
        if self.architecture.dropout:
            x = keras.layers.Dropout(self.architecture.dropout, seed=next(self.seeds), name=f"{name}_dropout")(x)
        return x

    def shortcut(self, x: keras.KerasTensor, filters: int, level: int, name: str) -> keras.KerasTensor:
        """The identity of a residual block: as many channels as the block's output, and cropped to its size."""
        if self.architecture.padding == "valid":
            kernel = self.architecture.geometry.kernel_sizes[level]
            crop = tuple(CONVOLUTIONS * (size - 1) // 2 for size in kernel)
            x = keras.layers.Cropping3D(crop, name=f"{name}_shortcut_crop")(x)
        return self.widened(x, filters, name)

    def widened(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        """The features with that many channels."""
        return x if x.shape[-1] == filters else self.conv(x, filters, (1, 1, 1), f"{name}_shortcut")

    def excited(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Squeeze-and-excitation over channels (Hu et al. 2018)."""
        channels = x.shape[-1]
        gate = keras.layers.GlobalAveragePooling3D(keepdims=True, name=f"{name}_squeeze")(x)
        inside = max(1, channels // _SQUEEZE[self.architecture.block])
        gate = self.conv(gate, inside, (1, 1, 1), f"{name}_reduce", activation="relu")
        gate = self.conv(gate, channels, (1, 1, 1), f"{name}_excite", activation="sigmoid")
        return keras.layers.Multiply(name=f"{name}_scale")([x, gate])

    def up(self, x: keras.KerasTensor, level: int) -> keras.KerasTensor:
        """The step from the level below up to `level`."""
        pool, channels = self.architecture.geometry.pool_sizes[level], x.shape[-1]
        if self.architecture.filters is not None or self.architecture.joining == "add":
            channels = self.architecture.channels(level)[1]
        how = self.architecture.upsampling
        if how in ("interpolate", "nearest"):
            x = keras.layers.UpSampling3D(pool, name=f"interpolate_{level}")(x)
            return x if how == "nearest" else self.conv(x, channels, (1, 1, 1), f"up_{level}", use_bias=False)
        margin = triple((size - 1) * (how == "overlapping") for size in pool)
        x = keras.layers.Conv3DTranspose(
            channels,
            triple(size + more for size, more in zip(pool, margin, strict=True)),
            strides=pool,
            use_bias=False,  # reproduces the paper's parameter count
            kernel_initializer=self.initializer(),
            kernel_regularizer=self.regularizer(),
            name=f"up_{level}",
        )(x)
        if not any(margin):
            return x
        # What sticks out goes, and the first voxel is repeated: the sizes are those of the level above again.
        x = keras.layers.Cropping3D(margin, name=f"up_{level}_crop")(x)
        return keras.ops.pad(x, ((0, 0), *((size, 0) for size in margin), (0, 0)), mode="symmetric")

    def joined(self, skip: keras.KerasTensor, x: keras.KerasTensor, level: int) -> keras.KerasTensor:
        """A skip connection together with what comes from below."""
        if self.architecture.joining == "concatenate":
            return keras.layers.Concatenate(name=f"concat_{level}")([skip, x])
        return keras.layers.Add(name=f"join_{level}")([skip, x])

    def cropped(self, skip: keras.KerasTensor, level: int) -> keras.KerasTensor:
        """A skip connection in the size of what it is joined with."""
        crop = self.architecture.geometry.crop(level)
        return keras.layers.Cropping3D(crop, name=f"crop_{level}")(skip) if any(crop) else skip

    def head(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """One map per class."""
        logits = self.conv(x, self.architecture.num_classes, (1, 1, 1), "logits", dtype="float32")
        if self.architecture.output == "logits":
            return logits
        if self.architecture.output == "sigmoid":
            return keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(logits)
        return keras.layers.Softmax(dtype="float32", name="probabilities")(logits)

    def normalized(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        layer = _NORMALIZATION_LAYERS[self.architecture.normalization]
        if layer is None or self.architecture.normalization == "batch":
            return layer(x.shape[-1], self.architecture, name)(x) if layer else x
        # TensorFlow adds up innermost axes in pairs, and others one voxel after the other: on a processor the deviation of a
        # large tile is several per cent off. With channels first the axes are innermost, and it takes less time, too.
        channels = x.shape[-1]
        x = keras.layers.Permute((4, 1, 2, 3), name=f"{name}_first")(x)
        x = layer(channels, self.architecture, name)(x)
        return keras.layers.Permute((2, 3, 4, 1), name=f"{name}_last")(x)

    def conv(self, x: keras.KerasTensor, filters: int, kernel: Triple, name: str, **options: Any) -> keras.KerasTensor:
        """A convolution; `options` are further ones of its layer."""
        return keras.layers.Conv3D(
            filters,
            kernel,
            padding=self.architecture.padding,
            kernel_initializer=self.initializer(),
            kernel_regularizer=self.regularizer(),
            name=name,
            **options,
        )(x)

    def initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.HeNormal(seed=next(self.seeds))

    def regularizer(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.architecture.l2) if self.architecture.l2 else None
