"""`fit_folds`: K networks, each validated on the part of the data that it was not trained on, and what they say together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from keras_unet3d.datasets import Globs
from keras_unet3d.errors import InputError, expect
from keras_unet3d.evaluation.overlap import count, figures, means
from keras_unet3d.fields import argument
from keras_unet3d.files import read_json, write_json
from keras_unet3d.labels import class_volume
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.locks import Taken
from keras_unet3d.machine import hosts
from keras_unet3d.patches.holdout import folds_of_slices, folds_of_volumes, hold_out
from keras_unet3d.patches.source import index_labels
from keras_unet3d.run_folder import FoldsConfig, FoldsFolder, RunData, RunFolder
from keras_unet3d.settings import FitSettings
from keras_unet3d.settings.texts import MOST_FOLDS
from keras_unet3d.words import plural
from keras_unet3d.workflows.data import LabelledData, listed, open_data
from keras_unet3d.workflows.fit.resume import resumed_settings
from keras_unet3d.workflows.fit.run import Run, fit, kept_predictor
from keras_unet3d.workflows.fit.sources import read_sources
from keras_unet3d.workflows.fit.start import Start


@dataclass(frozen=True)
class Folds:
    """Folds that were trained.

    Attributes:
        path: their folder, which is a model itself: the mean of their probabilities.
        figures: of every volume, by the network that did not see it; None while other processes train some folds.
        final: the run on everything, where one was asked for.
    """

    path: Path
    figures: dict[str, Any] | None
    final: Run | None


def fit_folds(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    folds: int | None = None,
    *,
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    settings: FitSettings = FitSettings(),
    start: Start | None = None,
    final: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> Folds:
    """Train K networks, each on all but one K-th of the data, and say how good they are on what they did not see.

    Every volume is held out once; of a single volume, every annotated slice. The folds are ordinary runs in `out`, one after
    the other; with `resume` several processes share them, each taking the next one that nobody trains. `out` is a model
    itself, which averages the probabilities of all folds.

    Args:
        data, images, labels, weights: as in `fit`.
        out: the folder to make.
        folds: how many; None with `resume`.
        settings: of every fold. Its seed is that of the first one: each begins with weights of its own.
        start: a network that each of them trains further.
        final: whether a last network is trained on everything, in `out/final`, for as many epochs as the folds were best at
            (their median), or for as many minutes.
        resume: whether folds that were begun at `out` go on: those that are done are left as they are.
        overwrite: whether earlier folds at `out` may be replaced; they are removed once `data` are known to be good.
        listener: is told a line at a time, and steps done and steps in all.

    Raises:
        InputError: as `fit`; fewer volumes than folds; another number of folds than those that go on.
    """
    hosts.refuse_several(folds=True)
    expect("settings", settings, FitSettings)
    expect("listener", listener, Listener, "Listener(print) prints the lines")
    folder, number = FoldsFolder(Path(argument("out", str | Path, out))), argument("folds", int | None, folds)
    if settings.fold is not None or settings.validation_share != FitSettings().validation_share:
        raise InputError("folds: expected neither `fold` nor `validation_share` beside them, found one; leave it out.")
    if resume and overwrite:
        raise InputError(
            "resume: expected to go on with folds or to overwrite them, found both; leave one of them out."
        )
    given = RunData(tuple(map(str, listed(data))), globs=(images, labels, weights))
    if resume and folder.is_folds:
        config = _going_on(folder, number, settings, given, final)
    else:
        config = _begun(folder, number, settings, given, final, overwrite)
    named, globs = [*config.data.arguments], Globs(*config.data.globs)
    settings = FitSettings.from_config(config.settings, str(folder.path))

    def trained(run: RunFolder, changed: FitSettings) -> Run | None:
        """Return a run that is finished now; None where another process trains it."""
        try:
            return fit(
                named, run.path, **vars(globs), settings=changed, start=start, resume=run.is_run, listener=listener
            )
        except Taken:
            listener.say(f"{run.path.name}: another process trains it")
            return None

    numbered = list(enumerate(folder.runs(), 1))
    for position, run in numbered:
        if not _is_done(run, settings):
            listener.say(f"\n{run.path.name} of {config.folds}")
            held = replace(settings, fold=f"{position}/{config.folds}", seed=settings.seed + position - 1)
            if done := trained(run, held):
                write_json(run.held_out, _held_out_figures(run, done))
    under_way = [run.path.name for _, run in numbered if not _is_done(run, settings)]
    if under_way:
        listener.say(f"{', '.join(under_way)}: trained by other processes; the last one to end says the figures")
        return Folds(folder.path, None, None)
    result = _cross_validated([read_json(run.held_out, "figures of a fold") for _, run in numbered])
    write_json(folder.figures, result)
    listener.say("\n" + "\n".join(in_words(result)))
    whole = None
    if config.final:
        epochs = round(median(fold["best_epoch"] for fold in result["folds"]))
        by_clock = settings.minutes is not None
        length = (
            f"{settings.minutes:g} minutes" if by_clock else f"{plural(epochs, 'epoch')}, the median of the folds' best"
        )
        listener.say(f"\nfinal: all of the data, nothing held out, {length}")
        everything = replace(settings, validation_share=0, early_stop=None, fold=None)
        whole = trained(folder.final, everything if by_clock else replace(everything, epochs=epochs))
    return Folds(folder.path, result, whole)


def _going_on(
    folder: FoldsFolder, number: int | None, settings: FitSettings, given: RunData, final: bool
) -> FoldsConfig:
    """Return what the folds that go on have in common, with what may be changed as it is given now."""
    config = folder.read_config()
    if number not in (None, config.folds):
        raise InputError(
            f"folds: expected {config.folds}, as {folder.path} was begun with, found {number}; leave it out."
        )
    if given not in (RunData(), config.data):
        # Folds that have yet to begin would be parts of something else.
        raise InputError(
            f"DATA: expected {_in_words(config.data)}, as {folder.path} was begun with, found {_in_words(given)}; leave it out."
        )
    now = resumed_settings(folder, config, settings)
    config = replace(config, settings=now.config(), final=final or config.final)
    folder.write_config(config)
    return config


def _in_words(data: RunData) -> str:
    return ", ".join([*data.arguments, *(pattern for pattern in data.globs if pattern)])


def _begun(
    folder: FoldsFolder, number: int | None, settings: FitSettings, given: RunData, final: bool, overwrite: bool
) -> FoldsConfig:
    """Return what new folds have in common, once they have their place."""
    if number is None:
        raise InputError(f"{folder.path}: expected folds to resume, found none; say how many `folds` to begin.")
    if not 2 <= number <= MOST_FOLDS:
        raise InputError(f"folds: expected 2 to {MOST_FOLDS}, found {number}.")
    if RunFolder(folder.path).is_run:
        raise InputError(f"{folder.path}: expected a folder for folds, found a run; choose another path.")
    named, globs = [*given.arguments], Globs(*given.globs)
    config = FoldsConfig(number, settings.config(), given, final)
    _refuse_few(open_data(named, **vars(globs), options=settings), number)
    folder.begin(config, overwrite, [*named, *globs.files()])
    return config


def _refuse_few(data: LabelledData, number: int) -> None:
    """Raise `InputError` where there is too little to be held out in so many parts."""
    if len(data.training) > 1:
        folds_of_volumes(len(data.training), number)
    else:
        example = data.training[0]
        classes = class_volume(example.label, data.table, example.annotated)
        folds_of_slices(classes, index_labels(classes, data.table.num_labels), number)


def _is_done(run: RunFolder, settings: FitSettings) -> bool:
    """Return whether a fold has been trained for all of its epochs, and its figures are there."""
    if not (run.is_run and run.held_out.is_file()):
        return False
    config = run.read_config()
    enough = (config.settings.get("epochs") or 0) >= (settings.epochs or 0)
    return enough and config.best is not None and read_json(run.held_out, "figures of a fold")["best"] == config.best


def _held_out_figures(folder: RunFolder, run: Run) -> dict[str, Any]:
    """Return IoU and Dice of every volume that a run held out."""
    config, data = folder.read_config(), run.data
    settings = FitSettings.from_config(config.settings, str(folder.path))
    sources = read_sources(data.examples, data.table, settings.memory)
    held = hold_out(sources, [], settings.validation_share, settings.seed, settings.held_fold).validation
    predictor, table = kept_predictor(folder, config.model), data.table
    volumes = []
    for source in held:
        predicted = predictor.predict(source.image, table.compared)
        counts = count(source.classes.array()[..., 0], predicted, table.num_classes, table.meanings)
        by_class = figures(counts.only(source.annotated(table.meanings)), table.names)
        volumes.append({"file": source.name, "classes": by_class, **means(by_class, table.background_name)})
    return {"best": config.best, "background": table.background_name, "volumes": volumes}


def _cross_validated(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all folds together: per class and over classes, mean and standard deviation over volumes.

    A volume counts with the classes that it or its prediction has. The standard deviation is that of a sample; of a single
    value it is None. "of_folds" are the means of every fold.
    """
    volumes = [{"fold": number, **volume} for number, part in enumerate(parts, 1) for volume in part["volumes"]]

    def summary(value: Any) -> dict[str, Any]:
        by_fold = [[value(volume) for volume in part["volumes"]] for part in parts]
        known = [[number for number in numbers if number is not None] for numbers in by_fold]
        every = [number for numbers in known for number in numbers]
        return {
            "mean": float(np.mean(every)) if every else None,
            "std": float(np.std(every, ddof=1)) if len(every) > 1 else None,
            "of_folds": [float(np.mean(numbers)) if numbers else None for numbers in known],
        }

    def of_class(name: str, figure: str) -> Any:
        return lambda volume: (volume["classes"][name] or {}).get(figure)

    names = list(volumes[0]["classes"])
    return {
        "classes": {name: {key: summary(of_class(name, key)) for key in ("iou", "dice")} for name in names},
        "mean_iou": summary(lambda volume: volume["mean_iou"]),
        "mean_dice": summary(lambda volume: volume["mean_dice"]),
        "background": parts[0]["background"],
        "folds": [{"best_epoch": part["best"]["epoch"], "volumes": len(part["volumes"])} for part in parts],
        "volumes": volumes,
    }


def in_words(result: dict[str, Any]) -> list[str]:
    """Return the cross-validated figures as lines."""
    rows = {name: figures["dice"] for name, figures in result["classes"].items()} | {"mean": result["mean_dice"]}
    width = max(len("class"), *map(len, rows))
    names = {volume["file"] for volume in result["volumes"]}
    held = plural(len(names), "volume") if len(names) > 1 else f"{len(result['volumes'])} parts of one volume"
    lines = [
        f"{'class':<{width}}  Dice, mean and standard deviation over {held}, each by the network that did not see it; means of "
        "the folds"
    ]
    for name, summary in rows.items():
        by_fold = " ".join(_shown(value) for value in summary["of_folds"])
        lines.append(f"{name:<{width}}  {_shown(summary['mean'])} +- {_shown(summary['std'])}   {by_fold}")
    lines[-1] += f"   without {result['background']}" if result["background"] else ""
    return lines


def _shown(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"
