"""Writes bundles: everything a model needs to be found, checked, run and trained further."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.datasets import SAMPLE
from keras_unet3d.datasets.phantom import phantom
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import (
    copy_file,
    read_json,
    refuse_existing_folder,
    refuse_unwritable,
    sha256,
    temporary_folder,
    whole_folder,
    write_array,
    write_bytes,
    write_json,
    write_text,
)
from keras_unet3d.geometry import triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.machine import versions
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.model_spec import ModelSpec, legal_sizes, untrained_spec
from keras_unet3d.network.copies import float32_copy
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.pictures.slices import Panel, draw_annotations
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.run_folder import FoldsFolder, RunConfig, RunData, RunFolder
from keras_unet3d.volumes import Volume, from_array, open_volume
from keras_unet3d.zoo.archives import check_sums, unzip, write_sums
from keras_unet3d.zoo.bioimageio import RDF, can_describe, to_rdf
from keras_unet3d.zoo.cards import CARD, Card, halo, read_card, to_metadata, to_readme
from keras_unet3d.zoo.hub import front_matter
from keras_unet3d.zoo.loading import NETWORK, average_runs, bundle_folder, check_agreement, open_model, runs_of
from keras_unet3d.zoo.serving import (
    ONNX,
    can_write_onnx,
    same_size,
    save_model,
    saved_model_name,
    to_onnx,
    write_saved_model,
)
from keras_unet3d.zoo.trust import TEST_INPUT, TEST_OUTPUT, prepared

COVER, SAME_SIZE = "cover.png", "model_same_size.keras"
# Voxels per axis of a small stored test's output.
_TEST_SIZE = 24


@validated
def export_run(
    run: str | Path | Sequence[str | Path],
    card: Card | Mapping,
    directory: str | Path,
    overwrite: bool = False,
    *,
    complete: bool = True,
    evaluation: dict | None = None,
    cover: str | Path | None = None,
) -> Path:
    """Write the bundle of a run folder's best network and return its folder.

    The card's model, training, evaluation and software are filled from the run where it leaves them open.

    Args:
        run: the run folder, or a folder of folds, or several of them: an ensemble, the mean of their probabilities.
        card, directory, overwrite, complete: as in `export`.
        evaluation: what `evaluate` returned; on which data is for the card's description to say.
        cover: the volume whose prediction is shown; `None` takes one that the run held out, where that is still there.
    """
    card = as_card(card)
    refuse_place(card, directory, overwrite)
    given = [run] if isinstance(run, str | Path) else run
    runs = [part for path in given for part in runs_of(path) or [RunFolder(Path(path))]]
    configs = [part.read_config() for part in runs]
    model, spec = average_runs(runs) if len(runs) > 1 else open_model(runs[0].path)
    data = _joined([config.data for config in configs])
    # Names of files, not their paths: those are nobody else's business.
    named = {key: getattr(data, key) for key in ("training", "validation", "split")}
    filled = replace(
        card,
        model=card.model or spec,
        training=card.training or {"settings": configs[0].settings, "data": named},
        evaluation=card.evaluation or evaluation or _validation(given, configs),
        software=card.software or configs[0].versions,
    )
    with temporary_folder() as folder:
        picture = _draw_cover(model, spec, _shown(cover, data, spec), folder / COVER)
        return export(model, filled, directory, overwrite, complete=complete, cover=picture)


def refuse_place(card: Card, directory: str | Path, overwrite: bool) -> None:
    """Raise `InputError` before any work where the bundle cannot be written."""
    target = _place(card, directory)
    refuse_existing_folder(target, overwrite, "bundle", (CARD,))
    refuse_unwritable(target)


def _place(card: Card, directory: str | Path) -> Path:
    return Path(directory) / card.name / card.version


def _joined(parts: Sequence[RunData]) -> RunData:
    """Return what networks were trained on together; held out is what none of them has seen."""
    if len(parts) == 1:
        return parts[0]
    training = tuple(dict.fromkeys(name for part in parts for name in part.training))
    held_out = dict.fromkeys(name for part in parts for name in part.validation if name not in training)
    return replace(
        parts[0],
        training=training,
        validation=tuple(held_out),
        split="; ".join(dict.fromkeys(part.split for part in parts)),
    )


def _validation(given: Sequence[str | Path], configs: Sequence[RunConfig]) -> dict:
    """Return the figures that the runs have by themselves; none for an ensemble of anything but folds."""
    folds = FoldsFolder(Path(given[0]))
    if len(given) == 1 and folds.is_folds:
        figures = read_json(folds.figures, "cross-validated figures") if folds.figures.is_file() else {}
        dice = {f"dice of {name}": part["dice"]["mean"] for name, part in figures.get("classes", {}).items()}
        spread = figures.get("mean_dice", {})
        return {
            "on": "every volume, by the network of the fold that did not see it (mean over volumes)",
            **dice,
            "mean_dice": spread.get("mean"),
            "standard deviation over volumes": spread.get("std"),
        }
    if len(configs) > 1:
        return {}
    figures = {name: value for name, value in (configs[0].best or {}).items() if name.startswith("val_")}
    return {"on": "patches of the validation volumes", **figures}


def _shown(cover: str | Path | None, data: RunData, spec: ModelSpec) -> Volume | None:
    """Return the volume to show; None where there is none."""
    files = [cover] if cover else [name for name in data.held_out_files if Path(name).exists()]
    if files:
        return open_volume(files[0], *spec.keys.of(spec.keys.raw))
    if data.training == (SAMPLE,):
        stack = phantom()
        return from_array(stack.image, SAMPLE, stack.spacing, "um")
    return None


def _draw_cover(model: keras.Model, spec: ModelSpec, volume: Volume | None, path: Path) -> Path | None:
    """Draw a slice of a volume, and the prediction over it; None without a volume."""
    if volume is None:
        return None
    classes = trained_predictor(model, spec).predict(volume, "classes")
    foreground = classes != spec.labels.background
    plane = int(foreground.sum(axis=(1, 2)).argmax()) if foreground.any() else len(classes) // 2
    image = volume.read((slice(plane, plane + 1), *(slice(0, size) for size in volume.shape[1:])))[0, ..., 0]
    shown = np.where(foreground, classes, UNLABELLED)[plane]
    panels = [
        Panel("volume", image, np.full_like(shown, UNLABELLED), 0, volume.spacing),
        Panel("prediction", image, shown, 0, volume.spacing),
    ]
    draw_annotations([panels], path, spec.labels.shown_names)
    return path


@validated
def export(
    model: keras.Model,
    card: Card | Mapping,
    directory: str | Path,
    overwrite: bool = False,
    *,
    complete: bool = True,
    cover: str | Path | None = None,
) -> Path:
    """Write the bundle `directory/NAME/VERSION` and return its path.

    Args:
        model: a network made by `build_model`, output "probabilities" or "sigmoid".
        card: a `Card`, or a dictionary of its attributes; at least the name.
        directory: a folder of the search path, or any other.
        overwrite: whether this version may be replaced.
        complete: whether to write what `complete` can make of the rest at any time: SavedModel, ONNX, `rdf.yaml`, and a test
            that is large enough for bioimage.io.
        cover: a picture of what it does, PNG.

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
    if architecture_of(model).output == "logits":
        raise InputError(
            f"model {model.name!r}: expected output='probabilities', found 'logits'; build it with the former."
        )
    if cover and not Path(cover).is_file():
        raise InputError(f"{cover}: expected a picture for the cover, found no such file.")
    card = _completed(as_card(card), model)
    check_agreement(model, card.spec, f"card of {card.name}")
    model = float32_copy(model)
    target = _place(card, directory)
    with whole_folder(target, overwrite, "bundle", (CARD,)) as folder:
        files = {"keras": NETWORK, "test_input": TEST_INPUT, "test_output": TEST_OUTPUT}
        model.save(folder / NETWORK)
        _write_test(model, card.spec, folder, large=complete)
        if cover:
            copy_file(Path(cover), folder / COVER)
            files["cover"] = COVER
        if complete:
            files |= _write_served(model, card, folder)
        write_text(folder / "README.md", front_matter(card) + to_readme(card, [*files.values()]))
        if complete and can_describe(card.spec.normalization):
            write_text(folder / RDF, to_rdf(card, folder, files))
        listed = {path.name: {"sha256": sha256(path), "size": path.stat().st_size} for path in sorted(folder.iterdir())}
        write_json(folder / CARD, to_metadata(card, listed))
        write_sums(folder)
    return target


def _write_served(model: keras.Model, card: Card, folder: Path) -> dict[str, str]:
    """Write what others run, and return what it is and its names."""
    files = {"saved_model": saved_model_name(card.name)}
    write_saved_model(model, card.spec, folder / files["saved_model"])
    if can_write_onnx():
        write_bytes(folder / ONNX, to_onnx(model))
        files["onnx"] = ONNX
    if any(card.spec.architecture.geometry.margin):
        # bioimage.io tiles networks that keep their input's size.
        same_size(model).save(folder / SAME_SIZE)
        files["keras"] = SAME_SIZE
    return files


@validated
def complete(reference: str | Path, directory: str | Path, overwrite: bool = False) -> Path:
    """Write a bundle again with SavedModel and ONNX, which those that come with the package lack; return its path."""
    model, _ = open_model(reference)
    with bundle_folder(reference) as bundle:
        cover = bundle / COVER
        return export(model, read_card(bundle), directory, overwrite, cover=cover if cover.is_file() else None)


@validated
def unpack_for_serving(reference: str | Path, directory: str | Path, overwrite: bool = False) -> Path:
    """Write the SavedModel of a model to `directory/NAME/1`, the form that TF Serving reads, and return that folder."""
    with bundle_folder(reference) as bundle:
        card = read_card(bundle)
        archive = bundle / saved_model_name(card.name)
        target = Path(directory) / card.name / "1"
        with whole_folder(target, overwrite, "SavedModel", ("saved_model.pb",)) as folder:
            if archive.is_file():
                check_sums(bundle, only=archive.name)
                unzip(archive, folder)
            else:
                save_model(open_model(bundle)[0], card.spec, folder)
    return target


def as_card(card: Card | Mapping) -> Card:
    """Return a card that is given as such, or by its entries."""
    return card if isinstance(card, Card) else Card.from_config(card, "card")


def _completed(card: Card, model: keras.Model) -> Card:
    return replace(
        card,
        model=card.model or untrained_spec(architecture_of(model)),
        software=card.software or versions.package_versions(),
        created=card.created or datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _write_test(model: keras.Model, spec: ModelSpec, folder: Path, large: bool) -> None:
    """Store a raw input and the network's output for it, which `verify` replays; a `large` one is what bioimage.io wants."""
    margin = spec.architecture.geometry.margin
    # They ask for more than twice the halo.
    around = triple(2 * (h - m) + 1 for h, m in zip(halo(spec), margin, strict=True)) if large else (_TEST_SIZE,) * 3
    shape = (*legal_sizes(spec.architecture, around), spec.channels)
    # Grey values like a microscope's: the stored input is raw, and goes through the model's normalisation.
    raw = np.random.default_rng(0).gamma(4.0, 20.0, shape).astype(np.float32)
    output = compiled_network(same_size(model))(prepared(raw, spec))
    if not np.isfinite(output).all():
        raise InputError(
            f"model {model.name!r}: expected numbers as its output, found some that are none (NaN or infinite); train it anew."
        )
    write_array(folder / TEST_INPUT, raw[None])
    write_array(folder / TEST_OUTPUT, output)
