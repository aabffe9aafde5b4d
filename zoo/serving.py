"""The network as others run it: SavedModel and ONNX, float32, normalisation folded in, any batch and any legal size."""

import errno
import importlib.util
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.files import temporary_folder
from keras_unet3d.geometry import Geometry
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.copies import folded_copy, logits_model
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.volumes.grey_values import Normalization, Rescaling
from keras_unet3d.zoo.archives import zip_folder

# What each signature of the SavedModel takes and gives.
SIGNATURES = {
    "serve": "normalised float32 (batch, z, y, x, channels) -> probabilities of the same size",
    "logits": "the same -> logits",
    "segment": "raw float32 (batch, z, y, x, channels) of any size -> labels int32 (batch, z, y, x), normalised inside",
}


def saved_model_name(name: str) -> str:
    """Return the file of a bundle that holds the SavedModel."""
    return f"{name}_saved_model.zip"


def same_size(model: keras.Model) -> keras.Model:
    """Return the network with an output of its input's size; under "valid" padding the halo is zero."""
    margin = architecture_of(model).geometry.margin
    if not any(margin):
        return model
    return keras.Model(model.input, _in_halo(model.output, margin), name=model.name)


def _in_halo(output, margin):
    return keras.layers.ZeroPadding3D(margin, name="halo")(output)


def write_saved_model(model: keras.Model, spec: ModelSpec, path: Path) -> None:
    """Write the zip of a SavedModel with the `SIGNATURES`, `saved_model.pb` at its root.

    A network of fixed sizes has no `segment`, and one whose classes may overlap neither.
    """
    with temporary_folder() as folder:
        save_model(model, spec, folder)
        zip_folder(folder, path)


def save_model(model: keras.Model, spec: ModelSpec, folder: Path) -> None:
    """Write the SavedModel to a folder; see `write_saved_model`."""
    import tensorflow as tf

    plain = folded_copy(model)
    probabilities, logits = same_size(plain), _logits(plain)

    def serve(volume):
        return {"probabilities": probabilities(volume, training=False)}

    def serve_logits(volume):
        return {"logits": logits(volume, training=False)}

    def segment(volume):
        return {"labels": _segment(plain, spec, volume)}

    archive = keras.export.ExportArchive()
    for network in (plain, probabilities, logits):
        archive.track(network)
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name="volume")]
    archive.add_endpoint("serve", serve, input_signature=signature)
    archive.add_endpoint("logits", serve_logits, input_signature=signature)
    if None in model.inputs[0].shape[1:4] and not spec.overlapping:
        archive.add_endpoint("segment", segment, input_signature=signature)
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.ResourceExhaustedError as error:
        # So TensorFlow calls a full disk, too.
        raise OSError(errno.ENOSPC, str(error)) from error


def _logits(model: keras.Model) -> keras.Model:
    margin = architecture_of(model).geometry.margin
    logits = logits_model(model)
    return keras.Model(logits.input, _in_halo(logits.output, margin)) if any(margin) else logits


def _segment(model: keras.Model, spec: ModelSpec, volume):
    """Return the label values of raw volumes `(batch, z, y, x, channels)`: one pass, mirrored to a legal size."""
    import tensorflow as tf

    geometry = architecture_of(model).geometry
    x = _normalized(volume, spec.normalization)
    sizes = tf.shape(x)[1:4]
    for axis in range(3):
        x = tf.gather(x, _mirrored(sizes[axis], geometry, axis), axis=axis + 1)
    classes = tf.argmax(model(x, training=False), -1, tf.int32)
    inside = classes[:, : sizes[0], : sizes[1], : sizes[2]]
    return tf.gather(tf.constant(spec.labels.values, tf.int32), inside)


def _mirrored(size, geometry: Geometry, axis: int):
    """Return the positions of a legal input around `size` voxels, folded back into them."""
    import tensorflow as tf

    margin, divisor, least = geometry.margin[axis], geometry.divisor[axis], geometry.legal_at_least(1, axis)
    length = least + tf.maximum(0, -(-(size + 2 * margin - least) // divisor)) * divisor
    position = tf.range(length) - margin
    turn = tf.maximum(2 * (size - 1), 1)
    folded = tf.math.floormod(position, turn)
    return tf.minimum(folded, turn - folded)


def _normalized(volume, how: Normalization):
    import tensorflow as tf

    if isinstance(how, tuple):
        return tf.concat([_normalized(volume[..., n : n + 1], one) for n, one in enumerate(how)], -1)
    return _NORMALIZED[how](volume) if isinstance(how, str) else _rescaled(volume, how)


def _zscore(volume, axes=(1, 2, 3)):
    import tensorflow as tf

    # In double precision: squares of large values cancel.
    voxels = tf.cast(volume, tf.float64)
    mean, variance = tf.nn.moments(voxels, axes, keepdims=True)
    return tf.cast(tf.math.divide_no_nan(voxels - mean, tf.sqrt(variance)), tf.float32)


def _rescaled(volume, how: Rescaling):
    import tensorflow as tf

    voxels = tf.cast(volume, tf.float64)
    low, high = _SERVED_ANCHORS[how.by](voxels, how, (1, 2, 3, 4) if how.pooled else (1, 2, 3))
    scaled = tf.math.divide_no_nan(voxels - low, high - low) * (how.to[1] - how.to[0]) + how.to[0]
    return tf.cast(tf.clip_by_value(scaled, *how.to) if how.clip else scaled, tf.float32)


def _deviations(voxels, how: Rescaling, axes):
    import tensorflow as tf

    mean, variance = tf.nn.moments(voxels, axes, keepdims=True)
    return (mean + value * tf.sqrt(variance) for value in (how.low, how.high))


def _percentiles(voxels, how: Rescaling, axes):
    import tensorflow as tf

    sizes = tf.shape(voxels)
    width = 1 if how.pooled else sizes[4]
    rows = tf.sort(tf.reshape(voxels, (sizes[0], -1, width)), axis=1)
    last = tf.shape(rows)[1] - 1
    for value in (how.low, how.high):
        position = tf.cast(last, tf.float64) * (value / 100)
        below = tf.cast(position, tf.int32)
        lower, upper = rows[:, below], rows[:, tf.minimum(below + 1, last)]
        yield (lower + (upper - lower) * (position - tf.floor(position)))[:, None, None, None]


# As in `volumes.grey_values`, in a graph.
_SERVED_ANCHORS: dict[str, Callable] = {
    "values": lambda voxels, how, axes: (how.low, how.high),
    "percentiles": _percentiles,
    "deviation": _deviations,
}
_NORMALIZED = {
    "zscore": _zscore,
    "sections": lambda volume: _zscore(volume, (2, 3)),
    "none": lambda volume: volume,
}

# ---- ONNX ----------------------------------------------------------------------------------------

OPSET = 17
ONNX = "model.onnx"


def can_write_onnx() -> bool:
    """Return whether the package that writes ONNX is installed."""
    return importlib.util.find_spec("tf2onnx") is not None


def to_onnx(model: keras.Model) -> bytes:
    """Return the network as ONNX: `volume` in, `probabilities` of the same size out."""
    import logging

    import tensorflow as tf
    import tf2onnx
    from tf2onnx import optimizer

    # In a model of its own, whose output has this name.
    volume = keras.Input(model.inputs[0].shape[1:], name="volume")
    named = keras.layers.Activation("linear", dtype="float32", name="probabilities")
    network = keras.Model(volume, named(same_size(folded_copy(model))(volume)))
    # It warns of what is not there to be used.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name="volume")]
    optimizers = {name: make for name, make in optimizer._get_optimizers().items() if name not in _HARMFUL}
    proto, _ = tf2onnx.convert.from_keras(network, signature, opset=OPSET, optimizers=optimizers)
    _mean_in_stages(proto)
    return proto.SerializeToString()


def _mean_in_stages(proto) -> None:
    """Have the means of group normalisations taken axis by axis: ONNX Runtime adds up millions of voxels inexactly."""
    from onnx import helper

    nodes = []
    for node in proto.graph.node:
        axes = next((list(entry.ints) for entry in node.attribute if entry.name == "axes"), [])
        if node.op_type != "ReduceMean" or len(axes) < 4:
            nodes.append(node)
            continue
        source = node.input[0]
        for axis in reversed(axes):
            target = node.output[0] if axis == axes[0] else f"{node.output[0]}_{axis}"
            nodes.append(
                helper.make_node("ReduceMean", [source], [target], f"{node.name}_{axis}", axes=[axis], keepdims=1)
            )
            source = target
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


# Of tf2onnx: the one makes pooling over four axes, which ONNX Runtime lacks, of the means of a group normalisation; the other
# gives what is repeated after one a wrong size.
_HARMFUL = ("global_pool_optimizer", "reshape_optimizer")


def onnx_session(source: bytes | str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from a batch to its output by ONNX Runtime, on its fastest device."""
    import onnxruntime

    session = onnxruntime.InferenceSession(source, providers=onnxruntime.get_available_providers())

    def call(batch: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"volume": batch})[0]

    return call
