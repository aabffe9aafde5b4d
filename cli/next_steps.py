"""The commands that usually come next, with the paths of this call."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from keras_unet3d.datasets import SAMPLE
from keras_unet3d.files import read_text
from keras_unet3d.labels import LabelTable
from keras_unet3d.run_folder import FoldsFolder, RunFolder
from keras_unet3d.words import plural
from keras_unet3d.workflows.annotate.painting import Painting

if TYPE_CHECKING:  # it loads Keras, which merge does without
    from keras_unet3d.workflows.fit.folds import Folds
    from keras_unet3d.workflows.fit.run import Run


def after_fit(run: "Run") -> str:
    """Return where a finished `Run` is, and what can be done with it."""
    folder, examples = shlex.quote(str(run.path)), run.data.training
    # A single volume is worth naming; of several nobody knows which one is meant.
    alone = len(examples) == 1 and examples[0].image.path
    volume = shlex.quote(str(examples[0].image.path)) if alone else "VOLUME"
    # A run that goes on knows its data.
    named = RunFolder(run.path).read_config().data
    patterns = [
        f"--{name} {shlex.quote(glob)}" for name, glob in zip(("images", "labels"), named.globs, strict=False) if glob
    ]
    evaluated = shlex.quote(named.arguments[0]) if named.arguments else " ".join(patterns) if named.globs[1] else "DATA"
    cut = " --instances" if run.data.table.of_instances else ""
    partly = "".join(f" --annotated {shlex.quote(rule)}" for rule in run.data.options.annotated)
    steps = [(f"unet3d-cli predict {folder} {volume} --out LABELS{cut}", "segment a volume")]
    if run.data.table.unlabelled and not run.data.table.overlapping:
        steps.append((f"unet3d-cli suggest {folder} {volume} --out DIR", "which slices to annotate next"))
    measures, only = "IoU and Dice; give data it was not trained on", ""
    if named.held_out_files:
        measures, only = "IoU and Dice of the volumes that were held out", "" if named.val else " --held-out"
        evaluated = shlex.join(named.val) if named.val else evaluated
    steps.append((f"unet3d-cli evaluate {folder} {evaluated}{partly}{cut}{only}", measures))
    steps.append((f"unet3d-cli export {folder} --name NAME --out models", "a bundle for the zoo"))
    kept = "model.keras, config.json, history.csv, curves.png, slices.png, samples.png"
    page = RunFolder(run.path).report
    return f"\nrun folder: {run.path}  ({kept})\nall of it on one page: {page}\nnext:\n{_aligned(steps)}"


def after_folds(folds: "Folds") -> str:
    """Return where finished `Folds` are, and what can be done with them."""
    folder = shlex.quote(str(folds.path))
    if folds.figures is None:
        return f"\nfolds: {folds.path}  (some are being trained by other processes)"
    steps = [
        (f"unet3d-cli predict {folder} VOLUME --out LABELS", "segment a volume, by all folds together"),
        (f"unet3d-cli distill {folder} DATA --out RUN", "one network that does what all of them do"),
        (f"unet3d-cli export {folder} --name NAME --out models", "a bundle for the zoo"),
    ]
    final = f"; {folds.final.path.name}, on everything" if folds.final else ""
    kept = f"cross_validation.json, a run folder per fold{final}"
    return f"\nfolds: {folds.path}  ({kept})\nnext:\n{_aligned(steps)}"


def _aligned(steps: list[tuple[str, str]]) -> str:
    width = max(len(command) for command, _ in steps)
    return "\n".join(f"  {command:<{width}}   {what}" for command, what in steps)


def after_stop(folder: str, again: str = "") -> str:
    """Return what is kept of a fit that was stopped, and how it goes on: by `again`, or by the path alone."""
    again = again or f"unet3d-cli fit --out {shlex.quote(folder)} --resume"
    run, folds = RunFolder(Path(folder)), FoldsFolder(Path(folder))
    if folds.is_folds:
        done = sum(fold.held_out.is_file() for fold in folds.runs())
        state = f"{done} of {plural(len(folds.runs()), 'fold')} are done"
        return f"{state}; it goes on with: {again}"
    if not run.is_run:
        return "the training had not begun"
    history = run.history
    epochs = len(read_text(history, "figures per epoch").splitlines()) - 1 if history.is_file() else 0
    state = f"{folder} holds {plural(epochs, 'epoch')}" if epochs else f"no epoch of {folder} was finished"
    return f"{state}; it goes on with: {again}"


def after_suggest(folder: str) -> str:
    """Return how painted slices are put back."""
    command = f"unet3d-cli merge {shlex.quote(folder)} --out NEW_LABELS"
    return f"next:\n  {command}      the painted slices and the old labels together"


def _meaning(table: LabelTable) -> list[str]:
    """Return the options that say what the labels mean."""
    if not table.of_instances:
        return ["--classes", table.declared()]
    background = ["--background", str(table.background_value)] if table.background_value else []
    return ["--target", table.target, *background]


def after_merge(folder: str, out: str) -> str:
    """Return how the new labels are trained on."""
    painting = Painting.read(Path(folder))
    volume = "IMAGE" if painting.volume == SAMPLE else painting.volume
    return f"next:\n  unet3d-cli {shlex.join(fit_words(painting, volume, out))} --out RUN"


def fit_words(painting: Painting, volume: str, labels: str) -> list[str]:
    """Return the call of fit, up to its --out, that trains on a volume and labels that somebody painted."""
    words = ["fit", "--images", volume, "--labels", labels, "--unlabelled", str(painting.unlabelled)]
    words += _meaning(painting.table)
    usual = {"raw": ("--raw-key", "raw"), "label": ("--label-key", "label"), "axes": ("--axes", None)}
    usual |= {"scene": ("--scene", None), "time": ("--time", None)}
    for name, (option, default) in usual.items():
        if getattr(painting.keys, name) != default:
            words += [option, str(getattr(painting.keys, name))]
    return words
