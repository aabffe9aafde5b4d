"""From a run folder, a bundle or a name to a network that is ready to predict."""

import tempfile
from pathlib import Path

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.model import float32_copy
from keras_unet3d.prediction import Predictor, trained_predictor
from keras_unet3d.spec import ModelSpec
from keras_unet3d.zoo.archives import check_sums, unzip
from keras_unet3d.zoo.registry import CARD, find, read_card

NETWORK = "model.keras"
RUN = "config.json"


def load(reference: str | Path) -> keras.Model:
    """Return the network of a model, float32 and uncompiled, ready to predict or to train further.

    Args:
        reference: a name, "name@version", the folder or zip of a bundle, or a run folder.

    Raises:
        InputError: an unknown name, or a file that is broken or was changed.
    """
    return open_model(reference)[0]


def predictor(reference: str | Path) -> Predictor:
    """Return a function from a raw volume `(z, y, x[, channels])` to its labels `(z, y, x)`.

    Normalisation, tiling and label values are those of the model's card. `reference` is as in `load`.
    """
    return trained_predictor(*open_model(reference))


def open_model(reference: str | Path) -> tuple[keras.Model, ModelSpec]:
    """Return network and specification of a model; `reference` is as in `load`."""
    path = Path(reference)
    if path.is_file() and path.suffix == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            unzip(path, Path(folder))
            return _open_bundle(_bundle_in(Path(folder), path))
    if (path / RUN).is_file():
        return _open_run(path)
    return _open_bundle(find(reference))


def held_out_names(run: str | Path) -> list[str]:
    """Return the names of the volumes that a run held out for validation."""
    config = read_json(Path(run) / RUN, "the configuration of a run")
    return config["data"]["validation"]


def _open_run(path: Path) -> tuple[keras.Model, ModelSpec]:
    config = read_json(path / RUN, "the configuration of a run")
    if "model" not in config:
        raise InputError(f"{path / RUN}: expected the entry 'model', found none; is this a run folder?")
    return read_network(path / NETWORK), ModelSpec.from_config(config["model"], str(path / RUN))


def _open_bundle(path: Path) -> tuple[keras.Model, ModelSpec]:
    for name in (CARD, NETWORK):
        check_sums(path, only=name)
    return read_network(path / NETWORK), read_card(path).model


def _bundle_in(folder: Path, source: Path) -> Path:
    """Return the bundle that a zip unpacked to: at its root or some folders down."""
    cards = sorted(folder.rglob(CARD))
    if not cards:
        raise InputError(f"{source}: expected a bundle with a {CARD}, found none in the archive.")
    return cards[0].parent


def read_network(path: Path) -> keras.Model:
    """Return the network in a `.keras` file, in float32; no code from the file is run (`safe_mode`).

    Raises:
        InputError: no such file, or a broken one.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a trained network, found no such file; did the fit finish an epoch?")
    try:
        return float32_copy(keras.models.load_model(path, compile=False, safe_mode=True))
    except InputError:
        raise
    except Exception as error:
        # Keras raises anything from KeyError to BadZipFile on a broken file.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: expected a network saved by Keras, found a broken one ({reason[:200]}).") from error
