"""From a run folder, a bundle or a name to a network that is ready to predict."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import is_whole_zip, temporary_folder
from keras_unet3d.machine import precision
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.copies import float32_copy
from keras_unet3d.network.unet import architecture_of, build, ensemble
from keras_unet3d.run_folder import FoldsFolder, RunFolder
from keras_unet3d.zoo.archives import unzip, unzip_one
from keras_unet3d.zoo.cards import CARD, Card, read_card
from keras_unet3d.zoo.registry import find
from keras_unet3d.zoo.trust import check_files, prove_once, skew

NETWORK = "model.keras"
# Keras' name of the weights in a `.keras` file.
_WEIGHTS = "model.weights.h5"


@validated
def load(reference: str | Path) -> keras.Model:
    """Return the network of a model, float32 and uncompiled, ready to predict or to train further.

    Args:
        reference: a name, "name@version", the folder or zip of a bundle, a run folder, or a folder of folds.

    Raises:
        InputError: an unknown name, or a file that is broken or was changed.
    """
    return open_model(reference)[0]


@validated
def open_model(reference: str | Path) -> tuple[keras.Model, ModelSpec]:
    """Return network and specification of a model; `reference` is as in `load`."""
    if runs := runs_of(reference):
        return average_runs(runs) if len(runs) > 1 else _open_run(runs[0])
    with bundle_folder(reference) as bundle:
        check_files(bundle, (CARD, NETWORK))
        card = read_card(bundle)
        model = read_network(bundle / NETWORK, card)
        check_agreement(model, card.spec, bundle / CARD)
        prove_once(bundle, model, card)
        return model, card.spec


def runs_of(reference: str | Path) -> list[RunFolder]:
    """Return the run at a path, or the run of every fold there; none where there is something else.

    Raises:
        InputError: a fold that is not finished.
    """
    run, folds = RunFolder(Path(reference)), FoldsFolder(Path(reference))
    return [run] if run.is_run else folds.finished_runs() if folds.is_folds else []


def _open_run(run: RunFolder) -> tuple[keras.Model, ModelSpec]:
    spec = run.read_config().model
    model = read_network(run.network)
    check_agreement(model, spec, run.path)
    return model, spec


def average_runs(runs: Sequence[RunFolder]) -> tuple[keras.Model, ModelSpec]:
    """Return one model that averages the probabilities of several runs' networks, and its specification.

    Raises:
        InputError: networks of different architectures, labels or grey values.
    """
    models, specs = zip(*map(_open_run, runs), strict=True)
    first = specs[0]
    for run, spec in zip(runs, specs, strict=True):
        for what in ("labels", "normalization"):
            if getattr(spec, what) != getattr(first, what):
                raise InputError(
                    f"{run.path}: expected a network of the same {what} as {runs[0].path}, to average both, found other ones; "
                    "leave it out."
                )
    model = ensemble(models)
    # What was fitted to one network by itself is not true of their mean.
    return model, replace(first.unsettled, architecture=architecture_of(model))


@contextmanager
def bundle_folder(reference: str | Path) -> Iterator[Path]:
    """Yield the folder of a bundle, given by name, folder or zip; a zip is unpacked for as long as this lasts."""
    path = Path(reference)
    if not (path.is_file() and path.suffix == ".zip"):
        yield find(reference)
        return
    with temporary_folder() as folder:
        unzip(path, folder)
        cards = sorted(folder.rglob(CARD))
        if len(cards) != 1:
            raise InputError(f"{path}: expected a zip of one bundle, found {len(cards)} files {CARD} in it.")
        try:
            yield cards[0].parent
        except InputError as error:
            # The person knows the zip, and not where it was unpacked.
            raise InputError(str(error).replace(str(folder), str(path))) from error


@validated
def held_out_files(run: str | Path) -> list[str]:
    """Return the paths of the images that a run held out for validation.

    Raises:
        InputError: no run folder, or a run that held out a part of a volume only.
    """
    if FoldsFolder(Path(run)).is_folds:
        raise InputError(
            f"{run}: expected a run that held out whole volumes, found folds, of which every network but one has seen each of "
            "them; their figures are in cross_validation.json."
        )
    data = RunFolder(Path(run)).read_config().data
    if not data.held_out_files:
        raise InputError(
            f"{run}: expected a run that held out whole volumes, found {data.split!r}; "
            "evaluate on other labelled volumes."
        )
    return [*data.held_out_files]


def check_agreement(model: keras.Model, spec: ModelSpec, source: object) -> None:
    """Raise `InputError` where `spec`, which `source` holds, describes another network than `model`."""
    network, described = architecture_of(model), spec.architecture
    for what in ("num_classes", "geometry", "output", "networks"):
        if getattr(network, what) != getattr(described, what):
            raise InputError(
                f"{source}: expected the description of the network beside it, whose {what} is {getattr(network, what)}; "
                f"found {getattr(described, what)}."
            )
    if network.input_channels != described.input_channels:
        raise InputError(
            f"{source}: expected the description of a network of {network.input_channels} channels, found "
            f"{described.input_channels}."
        )


def read_network(path: Path, card: Card | None = None) -> keras.Model:
    """Return the network in a `.keras` file, in float32; no code from the file is run (`safe_mode`).

    An older Keras does not know options that a newer one saved. Of a bundle, whose card tells of the version and of the
    architecture, the weights alone are taken then, and the stored test decides.

    Raises:
        InputError: no such file, or a broken one.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a trained network, found no such file; did the fit finish an epoch?")
    if not is_whole_zip(path):
        broken = (
            f"{path}: expected a network saved by Keras, found a broken one (the file is truncated or was changed)."
        )
        raise InputError(" ".join([broken, *(skew(card) if card else ())]))
    try:
        return float32_copy(keras.models.load_model(path, compile=False, safe_mode=True))
    except InputError:
        raise
    except Exception as error:
        # Keras raises anything from KeyError to BadZipFile on a broken file.
        newer = list(skew(card)) if card else []
        if card and newer:
            with suppress(Exception):
                return _with_weights(card.spec.architecture, path)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        broken = f"{path}: expected a network saved by Keras, found a broken one ({reason[:200]})."
        raise InputError(" ".join([broken, *newer])) from error


def _with_weights(architecture: Architecture, path: Path) -> keras.Model:
    """Return a new network with the weights in a `.keras` file."""
    with precision.dtype_policy("float32"):
        model = build(architecture)
    with temporary_folder() as folder:
        unzip_one(path, _WEIGHTS, folder / _WEIGHTS)
        model.load_weights(folder / _WEIGHTS)
    return model
