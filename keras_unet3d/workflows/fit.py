"""`fit`: from volumes with a few labels to a run folder with a trained network."""

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d import report, runtime
from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.datasets import SAMPLE, DataKeys, Example, Globs, open_data
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import read_json, refuse_existing_folder, write_json
from keras_unet3d.labels import LabelTable
from keras_unet3d.model import build, float32_copy
from keras_unet3d.prediction import trained_predictor
from keras_unet3d.samples import validation_positions, validation_sample
from keras_unet3d.settings import FitSettings
from keras_unet3d.spec import ModelSpec
from keras_unet3d.training import MONITORED, WAITING, Callbacks, Schedule, Shown, train
from keras_unet3d.workflows import dense, feeding, prepare, sheet, sources

CONFIG, NETWORK = "config.json", "model.keras"
# What a run's config.json always has.
CONFIG_ENTRIES = ("settings", "model", "data", "versions")
# Validation patches among which the one with most to see is drawn after every epoch.
_LOOKED_AT = 8


@dataclass(frozen=True)
class Run:
    """A finished fit.

    Attributes:
        path: the run folder.
        history: figures per epoch, a list per metric.
        best: the figures of the epoch whose network is in `model.keras`.
    """

    path: Path
    history: dict[str, list[float]]
    best: dict[str, float]


def fit(
    data: Sequence[str | Path],
    out: str | Path,
    *,
    val: Sequence[str | Path] = (),
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    settings: FitSettings = FitSettings(),
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Run:
    """Train a 3D U-Net on sparsely or densely labelled volumes.

    Args:
        data: HDF5 or Zarr volumes, folders of them, folders with a `dataset.json`, or "sample"; one or several.
        out: the run folder to make.
        val: further data, held out for validation; without it a part of `data` is.
        images, labels, weights: globs of image, label and weight files, instead of or beside `data`.
        settings: everything else; what is None is chosen and said.
        overwrite: whether an earlier run at `out` may be replaced.
        say: is given one line at a time.
        progress: is given steps done and steps in all.

    Returns:
        The run; its folder holds `config.json`, `model.keras`, `history.csv` and pictures.

    Raises:
        InputError: a `ValueError`: anything wrong with the data or the settings; an earlier run is still there then.
    """
    data, val = ([part] if isinstance(part, str | Path) else list(part) for part in (data, val))
    out, globs = Path(out), Globs(images, labels, weights)
    _check_out(out, overwrite, [*data, *val, *globs.files()])
    if settings.augment and settings.engine == "elasticdeform":
        load_elasticdeform()
    keys = DataKeys(settings.raw_key, settings.label_key, settings.weight_key, settings.axes)
    training = open_data(data, keys, globs)
    validation = open_data(val, keys) if val else None
    examples = training.examples + (validation.examples if validation else ())
    refuse(prepare.twice([example.image for example in examples]))
    table = prepare.label_table(training, validation, settings, say)
    say(prepare.describe(training, table))
    spec, settings = prepare.plan(examples, table, keys, settings)
    split = sources.split(training, validation, spec, settings, say)
    say(f"validation: {split.said}")
    class_weights = sources.weigh_classes(split, table, settings, say)
    with runtime.dtype_policy(settings.precision):
        model = build(spec.architecture)
    settings = replace(settings, engine=feeding.chosen_engine(model, split, spec, settings, say))
    # Only now that everything is known to be good does an earlier run go.
    if out.is_dir():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    config = _config(data, split, spec, settings, class_weights)
    write_json(out / CONFIG, config)
    say(_described(model, settings))
    say(prepare.describe_changes(spec, settings))
    if settings.augment:
        sheet.draw_sheet(split, spec, settings, out / "samples.png")
    shown = _shown(split, spec, settings)
    schedule = Schedule(settings.epochs, settings.steps_per_epoch, settings.learning_rate, settings.loss, class_weights)
    feed = feeding.feed(split, spec, settings)
    history = train(model, feed, shown, schedule, out, Callbacks(say, progress))
    best = _best(history)
    waiting = {"waiting": float(np.mean(history[WAITING]))}
    write_json(out / CONFIG, config | {"best": best, "input": waiting})
    say(f"best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f}, Dice {best['val_dice']:.3f}")
    if data == [SAMPLE] and not globs:
        dense.segment_sample(trained_predictor(_best_model(out), spec), out, say)
    say(_next_steps(out, data, training.examples, table))
    return Run(out, history, best)


def _check_out(out: Path, overwrite: bool, inputs: Sequence) -> None:
    refuse_existing_folder(out, overwrite, "run", (CONFIG,))
    if out.is_dir() and any(out.iterdir()):
        found = read_json(out / CONFIG, "the configuration of a run")
        if not set(CONFIG_ENTRIES) <= set(found):
            raise InputError(f"{out}: expected an earlier run to overwrite, found a {CONFIG} of something else.")
    for file in map(Path, inputs):
        if out.resolve() in (file.resolve(), *file.resolve().parents):
            raise InputError(
                f"{out}: expected a run folder apart from the data, found {file} in it; choose another path."
            )


def _config(data: Sequence, split: sources.Split, spec: ModelSpec, settings: FitSettings, class_weights) -> dict:
    return {
        "settings": asdict(settings),
        "model": spec.config(),
        "data": {
            "arguments": [str(path) for path in data],
            "training": [source.name for source in split.training],
            "validation": [source.name for source in split.validation],
            "split": split.said,
            "class_weights": class_weights,
            # What `evaluate --held-out` takes; nothing where a part of a volume was held out.
            "held_out_files": [source.file for source in split.validation] if split.whole_volumes else [],
        },
        "versions": runtime.versions(),
    }


def _described(model, settings: FitSettings) -> str:
    return (
        f"network: {model.count_params():,} parameters, depth {settings.depth}, {settings.base_filters} filters, "
        f"{settings.precision}; patch {' x '.join(map(str, settings.patch))}, batch {settings.batch_size}, "
        f"{prepare.plural(settings.epochs, 'epoch')} of {prepare.plural(settings.steps_per_epoch, 'step')}"
    )


def _shown(split: sources.Split, spec: ModelSpec, settings: FitSettings) -> Shown:
    """Return the validation patch, of a few, that has most to see."""
    plain = prepare.patch_settings(spec, settings, augment=False)
    positions = validation_positions(split.validation, plain, _LOOKED_AT)
    samples = (validation_sample(split.validation, plain, position) for position in positions)
    most = max(samples, key=lambda sample: report.minority(sample[1], sample[2] > 0).sum())
    return Shown(most, spec.labels.names, spec.spacing)


def _best(history: dict[str, list[float]]) -> dict[str, float]:
    epoch = int(np.argmax(history[MONITORED]))
    return {"epoch": epoch + 1} | {name: float(values[epoch]) for name, values in history.items()}


def _best_model(out: Path):
    import keras

    return float32_copy(keras.models.load_model(out / NETWORK, compile=False, safe_mode=True))


def _next_steps(out: Path, data: Sequence[str | Path], examples: Sequence[Example], table: LabelTable) -> str:
    run, evaluated = shlex.quote(str(out)), shlex.quote(str(data[0])) if data else "--images GLOB --labels GLOB"
    alone = len(examples) == 1 and examples[0].image.path
    volume = shlex.quote(str(examples[0].image.path)) if alone else "VOLUME"
    steps = [
        (f"unet3d-cli predict {run} {volume} --out LABELS", "segment a volume"),
        (f"unet3d-cli evaluate {run} {evaluated}", "IoU and Dice; give data it was not trained on"),
        (f"unet3d-cli export {run} --name NAME --out models", "a bundle for the zoo"),
    ]
    if table.unlabelled:
        steps.insert(1, (f"unet3d-cli suggest {run} {volume} --out DIR", "which slices to annotate next"))
    width = max(len(command) for command, _ in steps)
    lines = "\n".join(f"  {command:<{width}}   {what}" for command, what in steps)
    return f"\nrun folder: {out}  (model.keras, history.csv, curves.png, slices.png, logs/)\nnext:\n{lines}"
