"""`fit`: from volumes with a few labels to a run folder with a trained network."""

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.datasets import SAMPLE, DataKeys, Example, Globs, open_data
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import read_json, refuse_existing_folder, refuse_unwritable, write_json
from keras_unet3d.labels import LabelTable
from keras_unet3d.machine import devices, precision, versions
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.copies import float32_copy
from keras_unet3d.network.unet import build
from keras_unet3d.patches.samples import validation_positions, validation_sample
from keras_unet3d.pictures import slices
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.training import WAITING, Callbacks, Schedule, Shown, train
from keras_unet3d.workflows.fit import embedded_sample, plan, samples_sheet, sources
from keras_unet3d.workflows.fit import feed as feeding
from keras_unet3d.workflows.fit.memory import memory_in_words, say_costs
from keras_unet3d.workflows.fit.profile import write_profile
from keras_unet3d.workflows.fit.resume import content, go_on, resumed_settings, say_other_versions, stopped_run
from keras_unet3d.workflows.fit.start import Start, other_settings, take_weights

CONFIG, NETWORK = "config.json", "model.keras"
# What a run's config.json always has.
CONFIG_ENTRIES = ("settings", "model", "data", "versions")
# Files of the size of the weights that a run keeps: networks, state, and one that is being written.
_FILES = 8
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
    start: Start | None = None,
    resume: bool = False,
    profile: bool = False,
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
        start: a network that is trained further instead of a new one, also on other classes or channels.
        resume: whether a run at `out` that was stopped goes on, to the result that it would have had; without one there a
            run begins. Data that are not given are those of the run; epochs may be more than before.
        profile: whether the time of a step is measured first, into `profile.json`.
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
    if resume and overwrite:
        raise InputError("resume: expected to go on with a run or to overwrite it, found both; leave one of them out.")
    before = stopped_run(out, CONFIG, CONFIG_ENTRIES) if resume else None
    if before:
        settings = resumed_settings(before, settings, out)
        if not data and not globs:
            arguments = before["data"]
            data, val, globs = arguments["arguments"], arguments["val"], Globs(*arguments["globs"])
        say_other_versions(before, say)
    else:
        _check_out(out, overwrite, [*data, *val, *globs.files()])
        if resume and not data and not globs:
            raise InputError(f"{out}: expected a run to resume, found none; give DATA to begin one.")
        if resume:
            say(f"resume: there is no run at {out} yet; it begins")
    refuse(other_settings(settings, start) if start else ())
    if settings.augment and settings.engine == "elasticdeform":
        load_elasticdeform()
    keys = DataKeys(settings.raw_key, settings.label_key, settings.weight_key, settings.axes)
    training = open_data(data, keys, globs)
    validation = open_data(val, keys) if val else None
    examples = training.examples + (validation.examples if validation else ())
    refuse(plan.twice([example.image for example in examples]))
    table = plan.label_table(training, validation, settings, say)
    say(plan.describe(training, table))
    # A run that goes on has its weights already.
    base = ModelSpec.from_config(before["model"], str(out)).architecture if before else start and start.architecture
    spec, settings = plan.plan(examples, table, keys, settings, base)
    split = sources.split(training, validation, spec, settings, say)
    say(f"validation: {split.said}")
    class_weights = sources.weigh_classes(split, table, settings, say)
    schedule = _schedule(settings, class_weights)
    with devices.spread_over(settings.devices), memory_in_words(spec, settings):
        with precision.dtype_policy(settings.precision):
            model = build(spec.architecture)
        settings = replace(settings, engine=feeding.chosen_engine(model, split, spec, settings, say))
        config = _config((data, val, globs), split, spec, settings, class_weights, start)
        say(_described(model, settings))
        say_costs(spec, settings, say)
        say(plan.describe_changes(spec, settings))
        refuse_unwritable(out, _FILES * 4 * model.count_params())
        if before:
            go_on(out, before, config, schedule, bool(start), say)
        elif out.is_dir():
            # Only now that everything is known to be good does an earlier run go.
            shutil.rmtree(out)
        if start:
            say(take_weights(model, start))
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / CONFIG, config)
        if settings.augment and not before:
            samples_sheet.draw_sheet(split, spec, settings, out / "samples.png")
        feed = feeding.feed(split, spec, settings, class_weights)
        if profile:
            write_profile(out / "profile.json", spec, settings, feed, schedule, say)
        shown = _shown(split, spec, settings)
        rows, best = train(model, feed, shown, schedule, out, Callbacks(say, progress), resume)
    waiting = {"waiting": float(np.mean([row[WAITING] for row in rows]))}
    write_json(out / CONFIG, config | {"best": best, "input": waiting})
    say(f"best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f}, Dice {best['val_dice']:.3f}")
    if data == [SAMPLE] and not globs:
        embedded_sample.segment_sample(trained_predictor(_best_model(out), spec), out, say)
    say(_next_steps(out, data, training.examples, table))
    return Run(out, {name: [row[name] for row in rows] for name in rows[0]}, best)


def _schedule(settings: FitSettings, class_weights) -> Schedule:
    return Schedule(
        settings.epochs,
        settings.steps_per_epoch,
        settings.learning_rate,
        settings.loss,
        class_weights,
        optimizer=settings.optimizer,
        decay=settings.decay,
        warmup=settings.warmup,
        clip=settings.clip,
        ema=settings.ema,
        accumulate=settings.accumulate,
        patience=settings.early_stop,
        deep_supervision=settings.deep_supervision,
        frozen=settings.freeze_encoder,
    )


def _check_out(out: Path, overwrite: bool, inputs: Sequence) -> None:
    refuse_existing_folder(out, overwrite, "run", (CONFIG,), "--overwrite, or --resume to go on with it")
    if out.is_dir() and any(out.iterdir()):
        found = read_json(out / CONFIG, "the configuration of a run")
        if not set(CONFIG_ENTRIES) <= set(found):
            raise InputError(f"{out}: expected an earlier run to overwrite, found a {CONFIG} of something else.")
    for file in map(Path, inputs):
        if out.resolve() in (file.resolve(), *file.resolve().parents):
            raise InputError(
                f"{out}: expected a run folder apart from the data, found {file} in it; choose another path."
            )


def _config(
    arguments: tuple, split: sources.Split, spec: ModelSpec, settings: FitSettings, class_weights, start: Start | None
) -> dict:
    data, val, globs = arguments
    # As JSON gives it back, so that it can be compared to what a stopped run has written.
    model = json.loads(json.dumps(spec.config()))
    return {
        "settings": asdict(settings),
        "model": model,
        "start": start and start.name,
        "data": {
            "arguments": [str(path) for path in data],
            "val": [str(path) for path in val],
            "globs": [globs.images, globs.labels, globs.weights],
            "content": {"training": content(split.training), "validation": content(split.validation)},
            "training": [source.name for source in split.training],
            "validation": [source.name for source in split.validation],
            "split": split.said,
            "class_weights": class_weights,
            # What `evaluate --held-out` takes; nothing where a part of a volume was held out.
            "held_out_files": [source.file for source in split.validation] if split.whole_volumes else [],
        },
        "versions": versions.package_versions(),
        "machine": versions.machine_facts(),
    }


def _described(model, settings: FitSettings) -> str:
    filters = settings.filters or f"{settings.base_filters}, doubled,"
    return (
        f"network: {model.count_params():,} parameters, {filters} filters on {settings.depth} levels, "
        f"{settings.precision}; patch {' x '.join(map(str, settings.patch))}, batch {settings.batch_size}, "
        f"{plan.plural(settings.epochs, 'epoch')} of {plan.plural(settings.steps_per_epoch, 'step')}"
    )


def _shown(split: sources.Split, spec: ModelSpec, settings: FitSettings) -> Shown:
    """Return the validation patch, of a few, that has most to see."""
    plain = plan.patch_settings(spec, settings, augment=False)
    positions = validation_positions(split.validation, plain, _LOOKED_AT)
    samples = (validation_sample(split.validation, plain, position) for position in positions)
    most = max(samples, key=lambda sample: slices.minority(sample[1], sample[2] > 0).sum())
    return Shown(most, spec.labels.names, spec.spacing)


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
    return f"\nrun folder: {out}  (model.keras, config.json, history.csv, curves.png, slices.png, samples.png)\nnext:\n{lines}"
