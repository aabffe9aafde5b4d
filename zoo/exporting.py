"""Writes bundles: everything a model needs to be found, checked, run and trained further."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from keras_unet3d import runtime
from keras_unet3d.architecture import Architecture
from keras_unet3d.errors import InputError
from keras_unet3d.files import refuse_existing_folder, whole_folder, write_json
from keras_unet3d.geometry import Triple
from keras_unet3d.intensity import measure, normalize
from keras_unet3d.labels import LabelTable
from keras_unet3d.model import architecture_of, float32_copy
from keras_unet3d.prediction import compiled
from keras_unet3d.spec import ModelSpec
from keras_unet3d.volumes import from_array
from keras_unet3d.zoo.archives import sha256, write_sums, zip_folder
from keras_unet3d.zoo.cards import Card, to_metadata, to_readme
from keras_unet3d.zoo.loading import NETWORK, check_agreement, open_model, read_run
from keras_unet3d.zoo.registry import CARD

TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
# Voxels per axis of the stored test's output, and of the patch that is assumed where nobody trained.
_TEST_SIZE, _PATCH_SIZE = 16, 64


def export_run(run: str | Path, card: Card | Mapping, directory: str | Path, overwrite: bool = False) -> Path:
    """Write the bundle of a run folder's best network and return its folder.

    The card's model, training, evaluation and software are filled from the run where it leaves them open.
    """
    card = _as_card(card)
    config, _ = read_run(run)
    model, spec = open_model(run)
    best = config.get("best")
    best = {name: value for name, value in best.items() if name.startswith("val_")} if isinstance(best, dict) else {}
    # Names of files, not their paths: those are nobody else's business.
    data = {key: config["data"].get(key) for key in ("training", "validation", "split")}
    filled = replace(
        card,
        model=card.model or spec,
        training=card.training or {"settings": config["settings"], "data": data},
        evaluation=card.evaluation or {"on": "patches of the validation volumes", **best},
        software=card.software or config["versions"],
    )
    return export(model, filled, directory, overwrite)


def export(model: keras.Model, card: Card | Mapping, directory: str | Path, overwrite: bool = False) -> Path:
    """Write the bundle `directory/NAME/VERSION` and return its path.

    Args:
        model: a network made by `build_model`, output "probabilities".
        card: a `Card`, or a dictionary of its attributes; at least the name.
        directory: a folder of the search path, or any other.
        overwrite: whether this version may be replaced.

    Raises:
        InputError: a card that is not valid, a network of another kind, a version that exists already, or another Keras
            backend than TensorFlow, which writes the SavedModel.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            f"export: expected the Keras backend TensorFlow, which writes SavedModels, found {backend}; "
            "set KERAS_BACKEND=tensorflow (a run folder is the same on every backend)."
        )
    if architecture_of(model).output != "probabilities":
        raise InputError(
            f"model {model.name!r}: expected output='probabilities', found 'logits'; build it with the former."
        )
    card = _completed(_as_card(card), model)
    check_agreement(model, card.model, f"card of {card.name}")
    model = float32_copy(model)
    target = Path(directory) / card.name / card.version
    refuse_existing_folder(target, overwrite, "bundle", (CARD,))
    with whole_folder(target) as folder:
        model.save(folder / NETWORK)
        served = _same_size(model)
        _write_saved_model(served, folder / f"{card.name}_saved_model.zip")
        _write_test(served, card.model, folder)
        (folder / "README.md").write_text(to_readme(card), "utf-8")
        files = {path.name: {"sha256": sha256(path), "size": path.stat().st_size} for path in sorted(folder.iterdir())}
        write_json(folder / CARD, to_metadata(card, files))
        write_sums(folder)
    return target


def _as_card(card: Card | Mapping) -> Card:
    return card if isinstance(card, Card) else Card.from_mapping(card, "card")


def _completed(card: Card, model: keras.Model) -> Card:
    return replace(
        card,
        model=card.model or _spec_of(model),
        software=card.software or runtime.versions(),
        created=card.created or datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _spec_of(model: keras.Model) -> ModelSpec:
    """What can be said of a network without its training: classes have numbers for names."""
    architecture = architecture_of(model)
    classes = range(architecture.num_classes)
    table = LabelTable(tuple(classes), tuple(map(str, classes)))
    return ModelSpec(architecture, table, "zscore", _legal_size(architecture, _PATCH_SIZE))


def _legal_size(architecture: Architecture, output: int) -> Triple:
    """Return the network's fixed input sizes, or where they are open the smallest for `output` voxels."""
    geometry = architecture.geometry
    return tuple(
        size or geometry.legal_at_least(2 * geometry.margin[axis] + output, axis)
        for axis, size in enumerate(architecture.input_shape[:3])
    )


def _same_size(model: keras.Model) -> keras.Model:
    """Return the network with an output of its input's size; under "valid" padding the halo is zero."""
    margin = architecture_of(model).geometry.margin
    if not any(margin):
        return model
    outputs = keras.layers.ZeroPadding3D(margin, name="halo")(model.output)
    return keras.Model(model.input, outputs, name=model.name)


def _write_saved_model(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    def serve(volume):
        return {"probabilities": model(volume, training=False)}

    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name="volume")]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=signature)
    folder = Path(tempfile.mkdtemp())
    try:
        archive.write_out(str(folder), verbose=False)
        zip_folder(folder, path)
    finally:
        shutil.rmtree(folder)


def _write_test(model: keras.Model, spec: ModelSpec, folder: Path) -> None:
    """Store a raw input and the network's output for it, which `verify` replays."""
    shape = (*_legal_size(spec.architecture, _TEST_SIZE), spec.architecture.input_shape[3])
    # Grey values like a microscope's: the stored input is raw, and goes through the model's normalisation.
    raw = np.random.default_rng(0).gamma(4.0, 20.0, shape).astype(np.float32)
    np.save(folder / TEST_INPUT, raw[None])
    np.save(folder / TEST_OUTPUT, compiled(model)(prepared(raw, spec)))


def prepared(raw: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Return a raw volume `(z, y, x, channels)` as the network's input, a batch of one."""
    return normalize(raw, measure(from_array(raw), spec.normalization), spec.normalization)[None]
