"""What computes a network's output: Keras, the SavedModel of a bundle, ONNX Runtime or OpenVINO. A function of arrays each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.choices import PREDICTION_ENGINES, PREDICTION_PRECISIONS
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import temporary_folder
from keras_unet3d.geometry import Geometry
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.machine.versions import is_installed
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.copies import folded_copy
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.workflows.predict.blocks import Recipe
from keras_unet3d.zoo.archives import check_sums, unzip
from keras_unet3d.zoo.cards import read_card
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, open_model, runs_of
from keras_unet3d.zoo.registry import find
from keras_unet3d.zoo.serving import onnx_session, saved_model_name, to_onnx

Network = Callable[[np.ndarray], np.ndarray]
# Keras' dtype policy, and what OpenVINO calls the same.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


@validated
def predictor(reference: str | Path, engine: str = "keras", precision: str = "float32") -> Predictor:
    """Return a function from a raw volume `(z, y, x[, channels])` to its labels `(z, y, x)`.

    Normalisation, tiling and label values are those of the model's card.

    Args:
        reference: a name, "name@version", the folder or zip of a bundle, a run folder, or a folder of folds, whose
            probabilities are averaged.
        engine: "keras"; "onnx" (ONNX Runtime) or "openvino", the network converted on the spot; or "savedmodel", the bundle's
            own, a TensorFlow program that could do anything when it runs: of people you trust.
        precision: "float32", or with Keras and OpenVINO "bfloat16", which is about twice as fast on processors that multiply
            it in hardware, and rounds to 8 bits on the way; `fastest` proves it on a volume.

    Raises:
        InputError: an unknown name, engine or precision, a broken model, or a package that is missing.
    """
    refuse_other(engine, precision)
    return predictor_in(engine, precision, reference, *open_model(reference))


def predictor_in(engine: str, precision: str, reference: str | Path, model: keras.Model, spec: ModelSpec) -> Predictor:
    """Return the predictor of a model that is open, which `reference` names."""
    if engine == "keras":
        return trained_predictor(model, spec, _POLICIES[precision])
    network = _saved_model(reference, model) if engine == "savedmodel" else NETWORKS[engine, precision](model)
    return replace(trained_predictor(model, spec), network=network, logits=None)


@validated
def recipe(reference: str | Path, engine: str = "keras", precision: str = "float32") -> Recipe:
    """Return how another process of the same file system gets `predictor(reference, engine, precision)`."""
    refuse_other(engine, precision)
    path = Path(reference)
    folder = path.resolve() if path.exists() else find(reference)
    networks = [run.network for run in runs_of(folder)] or [folder / NETWORK]
    files = tuple(str(network) for network in networks if network.is_file())
    return Recipe(predictor, (str(folder), engine, precision), files or (str(folder),))


def refuse_other(engine: str, precision: str) -> None:
    """Raise `InputError` where there is no such engine, or not in that precision."""
    for name, value, known in (
        ("engine", engine, PREDICTION_ENGINES),
        ("precision", precision, PREDICTION_PRECISIONS),
    ):
        if value not in known:
            raise InputError(f"{name}: expected one of {', '.join(known)}; found {value!r}.")
    if precision != "float32" and (engine, precision) not in NETWORKS:
        able = " or ".join(name for name, in_precision in NETWORKS if in_precision == precision)
        raise InputError(f"precision: expected float32 with the engine {engine}, found {precision}; take {able}.")


def _saved_model(reference: str | Path, model: keras.Model) -> Network:
    path = Path(reference)
    if runs_of(path):
        raise InputError(f"{path}: expected a bundle for the engine savedmodel, found a run folder; export it first.")
    with bundle_folder(reference) as bundle:
        card = read_card(bundle)
        archive = bundle / saved_model_name(card.name)
        if not archive.exists():
            raise InputError(
                f"{card.name}: expected a bundle with a SavedModel for the engine savedmodel, found one without; make it by "
                f"`zoo.complete({card.name!r}, FOLDER)`."
            )
        check_sums(bundle, only=archive.name)
        network = served(archive)
    return _without_halo(network, card.spec.architecture.geometry)


def _without_halo(network: Network, geometry: Geometry) -> Network:
    """Return the network as the tiling knows it: under "valid" padding a served output has a halo of zeros."""

    def call(batch: np.ndarray) -> np.ndarray:
        output = network(batch)
        inner = (slice(m, n - m) for m, n in zip(geometry.margin, output.shape[1:4], strict=True))
        return output[(slice(None), *inner)]

    return call


def served(archive: Path) -> Network:
    """Return the signature `serve` of a zipped SavedModel, a TensorFlow program.

    Raises:
        InputError: a broken archive, or one without that signature.
    """
    import tensorflow as tf

    with temporary_folder() as folder, _explained(archive):
        unzip(archive, folder)
        loaded = tf.saved_model.load(str(folder))

    def call(batch: np.ndarray) -> np.ndarray:
        with _explained(archive):
            # By way of the loaded object, which must live on: its variables go with it.
            return loaded.signatures["serve"](volume=tf.convert_to_tensor(batch))["probabilities"].numpy()

    return call


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except InputError:
        raise
    except (OSError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{archive}: expected a SavedModel with a signature 'serve', found a broken one ({reason[:200]})."
        ) from error


def _in_keras(model: keras.Model, precision: str) -> Network:
    return compiled_network(folded_copy(model, _POLICIES[precision]))


def onnx_network(model: keras.Model) -> Network:
    """Return a network in ONNX Runtime.

    Raises:
        InputError: onnxruntime or tf2onnx is missing, or the Keras backend is another than TensorFlow, which writes the ONNX.
    """
    _refuse_missing("onnx", "onnxruntime")
    return _without_halo(onnx_session(to_onnx(model)), architecture_of(model).geometry)


def _openvino_network(model: keras.Model, precision: str) -> Network:
    """Return a network in OpenVINO; raises `InputError` as `onnx_network`."""
    _refuse_missing("openvino", "openvino")
    import openvino

    options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(openvino.Core().read_model(to_onnx(model)), "CPU", options)
    # What it returns is its own memory, which the next call writes over.
    return _without_halo(lambda batch: compiled(batch)[0].copy(), architecture_of(model).geometry)


def _refuse_missing(engine: str, package: str) -> None:
    missing = [name for name in (package, "tf2onnx") if not is_installed(name)]
    if missing:
        raise InputError(
            f"engine: expected the packages {package} and tf2onnx for {engine}, found no {missing[0]}; run "
            f"pip install 'keras-unet3d[{engine}]'."
        )
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"engine: expected Keras on TensorFlow for {engine}, found {keras.backend.backend()}; use keras."
        )


# Engine and precision -> any network computed by it.
NETWORKS: dict[tuple[str, str], Callable[[keras.Model], Network]] = {
    ("keras", "float32"): partial(_in_keras, precision="float32"),
    ("keras", "bfloat16"): partial(_in_keras, precision="bfloat16"),
    ("onnx", "float32"): onnx_network,
    ("openvino", "float32"): partial(_openvino_network, precision="float32"),
    ("openvino", "bfloat16"): partial(_openvino_network, precision="bfloat16"),
}
