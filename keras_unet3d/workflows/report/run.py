"""The page of a run: what its folder tells, and volumes that its network has segmented."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.datasets import Example
from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json, read_text, write_text
from keras_unet3d.geometry import Box
from keras_unet3d.labels import UNLABELLED, LabelTable, class_volume
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.report.charts import curves, shares
from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import MOST_VOXELS, Gallery, Scene
from keras_unet3d.run_folder import FoldsFolder, RunConfig, RunData, RunFolder
from keras_unet3d.settings import FitSettings
from keras_unet3d.volumes import cropped
from keras_unet3d.words import plural, some
from keras_unet3d.workflows.data import LabelledData, open_data
from keras_unet3d.workflows.evaluate.run import measured
from keras_unet3d.workflows.fit.after import box_around
from keras_unet3d.workflows.report.scenes import object_charts
from keras_unet3d.workflows.report.words import run_in_words

# Volumes of which a page has figures.
_MOST_VOLUMES = 20


@dataclass(frozen=True)
class Look:
    """What the network of a run says of volumes.

    Attributes:
        figures: as `evaluate` returns them; None where nothing was looked at.
        scenes: what the viewer shows.
        note: which volumes these are, or why there are none.
    """

    figures: dict[str, Any] | None = None
    scenes: Sequence[Scene] = ()
    note: str = ""


def make_report(run: str | Path, predictor: Predictor | None, listener: Listener = SILENT) -> Path:
    """Make the page of a run, `report.html` in its folder, in the place of an earlier one.

    Args:
        run: the run folder.
        predictor: of its network; None where it has kept none yet. Its volumes are opened again, and segmented.
        listener: is told what cannot be shown.

    Returns:
        The path of the page.

    Raises:
        InputError: no run folder, or a page that cannot be written.
    """
    folder = RunFolder(Path(run))
    if FoldsFolder(folder.path).is_folds:
        raise InputError(f"{run}: expected a run, found several folds; name one of them, {some(_names_of_folds(run))}.")
    config = folder.read_config()
    look = Look(note="There is no network yet.")
    if predictor:
        try:
            look = look_at(predictor, _opened(config), config.data, MOST_VOXELS)
        except InputError as error:
            look = Look(note=f"The volumes are not shown, as they could not be opened again. {error}")
            listener.say(look.note)
    write_page(folder, look)
    listener.say(f"page: {folder.report}")
    return folder.report


def _names_of_folds(folder: str | Path) -> list[str]:
    return [str(run.path) for run in FoldsFolder(Path(folder)).runs()]


def _opened(config: RunConfig) -> LabelledData:
    data = config.data
    images, labels, weights = data.globs
    settings = FitSettings.from_config(config.settings, "the settings of the run")
    arguments, val = [*data.arguments], [*data.val]
    return open_data(arguments, val=val, images=images, labels=labels, weights=weights, options=settings)


def look_at(predictor: Predictor, data: LabelledData, run: RunData, most: int) -> Look:
    """Segment volumes of a run, the held-out ones if it held out whole ones, of `most` voxels together at most."""
    table = predictor.spec.labels
    if table is None:
        return Look()
    held_out = [example for example in data.examples if example.file in run.held_out_files]
    examples = held_out or [*data.training]
    most = min(most, MOST_VOXELS)
    sizes = sorted(prod(example.image.shape) for example in examples)
    # Whole volumes tell more than parts of many.
    count = min(max(most // sizes[len(sizes) // 2], 1), len(examples), _MOST_VOLUMES)
    places = np.linspace(0, len(examples) - 1, count).round().astype(int)
    parts = [_part(examples[place], table, most // count) for place in places]
    gallery = Gallery("prediction", min(count, 4))
    figures = measured(predictor, parts, table, instances=table.of_instances, gallery=gallery)
    return Look(figures, gallery.scenes, _which(bool(held_out), parts, examples, run))


def _which(held_out: bool, parts: Sequence[Example], examples: Sequence[Example], run: RunData) -> str:
    some_of = f"{len(parts)} of " if len(parts) < len(examples) else ""
    known = (
        "held out whole: the network was not trained on them"
        if held_out
        else f"which the network was trained on, but for what was held out: {run.split}"
    )
    cut = any(
        prod(part.image.shape) < prod(example.image.shape) for part, example in zip(parts, examples, strict=False)
    )
    note = " Of large volumes a part is shown, whose grey values are normalised by themselves." if cut else ""
    return f"{some_of}{plural(len(examples), 'volume')}, {known}.{note}"


def _part(example: Example, table: LabelTable, most: int) -> Example:
    """Return the example, or of a large one a part of about `most` voxels, where it has most to see."""
    shape = example.image.shape
    if prod(shape) <= most:
        return example
    box = box_around(_middle(example, table), shape, most)
    where = ", ".join(f"{axis} {part.start} to {part.stop - 1}" for axis, part in zip("zyx", box, strict=True))
    return replace(
        example,
        name=f"{example.name}: {where}",
        image=cropped(example.image, box),
        label=cropped(example.label, box),
        weight=None,
    )


def _middle(example: Example, table: LabelTable) -> list[int]:
    """Return the middle of the block with most labels that are not of the background."""

    def seen(box: Box, labels: np.ndarray) -> tuple[int, int]:
        known = labels[labels != UNLABELLED]
        return int((known != table.background).sum()), len(known)

    blocks = class_volume(example.label, table, example.annotated).blocks()
    _, middle = max((seen(box, labels), [(side.start + side.stop) // 2 for side in box]) for box, labels in blocks)
    return middle


def write_page(run: RunFolder, look: Look = Look()) -> None:
    """Write the page of a run out of what its folder holds, and volumes that were looked at."""
    config = run.read_config()
    table = config.model.labels
    rows = _read_history(run)
    best = config.best["epoch"] if config.best else None
    count = f"{plural(len(rows), 'epoch')} so far" if not config.best else plural(len(rows), "epoch")
    seconds = (config.input or {}).get("seconds")
    page = Page(
        title=run.title,
        summary=f"A 3D U-Net for {some(table.shown_names, 8)}: {count}, trained by keras-unet3d {config.versions.get('keras-unet3d', '')}.",
        highlights=_highlights(run, config, rows),
        words=dict(run_in_words(config)),
        charts=[curves("Loss", rows, ["loss"], best), curves("Overlap", rows, ["iou", "dice"], best)] if rows else [],
        table=rows,
        figures=look.figures,
        scenes=look.scenes,
        scene_note=look.note,
        class_names=table.shown_names,
        background=table.background,
        objects=object_charts(look.scenes, config.model.unit),
        times=shares(seconds) if seconds else [],
        time_note=" ".join(_time_note(run, config)),
        settings=config.settings,
        versions=config.versions | config.machine,
    )
    write_text(run.report, html(page))


def _read_history(run: RunFolder) -> list[dict[str, float]]:
    """Return the figures of every epoch; none before the first one has ended."""
    if not run.history.is_file():
        return []
    lines = csv.DictReader(io.StringIO(read_text(run.history, "figures per epoch")))
    try:
        return [{name: float(value) for name, value in row.items()} for row in lines]
    except (TypeError, ValueError) as error:
        raise InputError(f"{run.history}: expected a table of numbers, found something else ({error}).") from error


def _highlights(run: RunFolder, config: RunConfig, rows: Sequence[Mapping[str, float]]) -> dict[str, str]:
    best = config.best or (rows and max(rows, key=lambda row: row["val_iou"]))
    shown = {}
    if best:
        shown = {
            "validation Dice": f"{best['val_dice']:.3f}",
            "validation IoU": f"{best['val_iou']:.3f}",
            "best epoch": f"{best['epoch']:.0f} of {len(rows)}",
        }
    if run.dense_figures.is_file():
        dense = read_json(run.dense_figures, "figures of the embedded data")
        words = {"mean_iou": "mean IoU, all voxels", "average_precision_50": "average precision at IoU 0.5"}
        shown |= {name: f"{dense[key]:.3f}" for key, name in words.items() if dense.get(key) is not None}
    return shown


def _time_note(run: RunFolder, config: RunConfig) -> Iterator[str]:
    if config.input:
        yield f"Of the steps, {config.input['waiting']:.0%} was spent waiting for patches."
    if (config.input or {}).get("seconds"):
        yield "If the training was resumed, this is the time since then."
    if run.profile.is_file():
        seconds = read_json(run.profile, "the profile of a step")["seconds"]
        yield "A step: " + ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items()) + "."
