"""What computes a network's output: Keras, the SavedModel of a bundle, or ONNX Runtime. A function of arrays each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.choices import PREDICTION_ENGINES
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import temporary_folder
from keras_unet3d.geometry import Geometry
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.workflows.predict.blocks import Recipe
from keras_unet3d.zoo.archives import check_sums, unzip
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, open_model, runs_of
from keras_unet3d.zoo.registry import find, read_card
from keras_unet3d.zoo.serving import onnx_session, saved_model_name, to_onnx

Network = Callable[[np.ndarray], np.ndarray]


@validated
def predictor(reference: str | Path, engine: str = "keras") -> Predictor:
    """Return a function from a raw volume `(z, y, x[, channels])` to its labels `(z, y, x)`.

    Normalisation, tiling and label values are those of the model's card.

    Args:
        reference: a name, "name@version", the folder or zip of a bundle, a run folder, or a folder of folds, whose
            probabilities are averaged.
        engine: "keras"; "onnx", ONNX Runtime with the network converted on the spot; or "savedmodel", the bundle's own, a
            TensorFlow program that could do anything when it runs: of people you trust.

    Raises:
        InputError: an unknown name or engine, a broken model, or a package that is missing.
    """
    _refuse_other(engine)
    model, spec = open_model(reference)
    with_keras = trained_predictor(model, spec)
    make = _OTHERS.get(engine)
    return replace(with_keras, network=make(reference, model), logits=None) if make else with_keras


@validated
def recipe(reference: str | Path, engine: str = "keras") -> Recipe:
    """Return how another process of the same file system gets `predictor(reference, engine)`."""
    _refuse_other(engine)
    path = Path(reference)
    folder = path.resolve() if path.exists() else find(reference)
    networks = [run.network for run in runs_of(folder)] or [folder / NETWORK]
    files = tuple(str(network) for network in networks if network.is_file())
    return Recipe(predictor, (str(folder), engine), files or (str(folder),))


def _refuse_other(engine: str) -> None:
    if engine not in PREDICTION_ENGINES:
        raise InputError(f"engine: expected one of {', '.join(PREDICTION_ENGINES)}; found {engine!r}.")


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


def _onnx(reference: str | Path, model: keras.Model) -> Network:
    return onnx_network(model)


def onnx_network(model: keras.Model) -> Network:
    """Return a network in ONNX Runtime; TensorFlow's backend of Keras writes the ONNX.

    Raises:
        InputError: onnxruntime or tf2onnx is missing, or the Keras backend is another.
    """
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"engine: expected the packages onnxruntime and tf2onnx for onnx, found no {error.name}; run "
            "pip install 'keras-unet3d[onnx]'."
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"engine: expected Keras on TensorFlow for onnx, found {keras.backend.backend()}; use keras.")
    return _without_halo(onnx_session(to_onnx(model)), architecture_of(model).geometry)


_OTHERS = {"savedmodel": _saved_model, "onnx": _onnx}
# Those that any network can be had in.
NETWORKS: dict[str, Callable[[keras.Model], Network]] = {"keras": compiled_network, "onnx": onnx_network}
