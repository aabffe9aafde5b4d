"""`predict`: volume files in, label volumes of the same format and geometry out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError, collecting
from keras_unet3d.fields import validated
from keras_unet3d.files import refuse_existing, refuse_unwritable
from keras_unet3d.geometry import Box
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import memory
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.segments.cells import evidence, instances_of
from keras_unet3d.segments.cleaning import fill_holes, keep_largest, remove_small
from keras_unet3d.segments.measures import NoObject
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import (
    Volume,
    fill_volume,
    from_array,
    in_threads,
    nearest,
    open_volume,
    readable_by_crops,
    resampled,
    stem,
    volume_format,
    whole_volume,
)
from keras_unet3d.words import gigabytes
from keras_unet3d.workflows.measure import measure
from keras_unet3d.workflows.predict.blocks import BlockWork, Recipe, predict_blocks
from keras_unet3d.workflows.predict.dry_run import say_plans
from keras_unet3d.workflows.predict.instances import predicted_instances
from keras_unet3d.workflows.predict.targets import refuse_same, targets_of
from keras_unet3d.workflows.predict.voxel_size import at_training_size, other_size_in_words

AS_THEY_ARE, INSTANCES = CleanSettings(), CleanSettings(instances=True)
# Memory per voxel of a label volume that is cleaned: its numbers, its pieces and two copies.
_CLEANING_BYTES = 24


@dataclass(frozen=True)
class _Wanted:
    """What is to come out of every volume; see `predict`."""

    output: str
    settings: PredictSettings
    cleaning: CleanSettings
    resample: bool

    def __post_init__(self):
        if self.cleaning != AS_THEY_ARE and self.output != "labels":
            raise InputError(f"output: expected labels where they are to be cleaned, found {self.output!r}.")
        if self.resample and self.output == "logits":
            raise InputError("resample: expected labels, probabilities or uncertainty, found logits.")


@validated
def predict(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    output: str = "labels",
    settings: PredictSettings = DEFAULTS,
    cleaning: CleanSettings = AS_THEY_ARE,
    resample: bool = False,
    table: bool = False,
    raw_key: str | None = None,
    axes: str | None = None,
    scene: str | None = None,
    time: int | None = None,
    suffix: str | None = None,
    scheduler: str | None = None,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    listener: Listener = SILENT,
) -> list[Path]:
    """Segment volume files and return the files written.

    A file that cannot be read does not stop the others; it is named at the end.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        inputs: volumes of any format, files or folders.
        out: a volume for one input, its suffix decides the format; or a folder, which keeps names and formats.
        output: "labels" (raw label values of the training data), "probabilities", "logits" (float32, channels last) or
            "uncertainty" (float32, 0 sure, 1 no idea).
        settings: how volumes are predicted.
        cleaning: what is done to the label volumes.
        resample: whether volumes are predicted at the voxel size of the training, and brought back.
        table: whether a table of the objects is written beside every label volume, as `measure` does it: its name with .csv.
        raw_key, axes, scene, time: of the files; `None` takes those that the network was trained with.
        suffix: format of the results in a folder, like ".nii.gz"; None keeps the inputs'.
        scheduler: address of a Dask scheduler whose workers compute blocks of Zarr volumes, or "here": in this process. What
            was stopped goes on with the next call.
        recipe: with a scheduler, how workers get the predictor.
        overwrite: whether files that are there may be replaced; never an input.
        dry_run: say what would be done, and do nothing.
        listener: is told lines, and voxels done and voxels in all.

    Raises:
        InputError: a `ValueError`: a wrong call, or anything wrong with one of the files, all of which are named.
    """
    wanted = _Wanted(output, settings, cleaning, resample)
    predictor.refuse_output(output, settings)
    if table and output != "labels":
        raise InputError(f"table: expected labels, whose objects are measured, found {output!r}; leave it out.")
    if cleaning.instances:
        predictor.refuse_instances()
    if scheduler and (recipe is None or cleaning not in (AS_THEY_ARE, INSTANCES) or resample):
        raise InputError("scheduler: expected a trained model, and neither cleaning nor resampling; leave one out.")
    if scheduler and _is_cleaned(predictor, wanted):
        listener.say("blocks are not cleaned, which takes the whole volume: the labels are those of `clean=False`")
    paths = [Path(path) for path in inputs]
    targets = targets_of(paths, Path(out), suffix, overwrite)
    if table:
        refuse_same(paths, [table_beside(target) for target in targets])
    keys = predictor.spec.keys.replaced(raw=raw_key, axes=axes, scene=scene, time=time)
    which = keys.of(keys.raw)
    faults: list[str] = []
    jobs: list[tuple[Path, Volume, Path]] = []
    for path, target in zip(paths, targets, strict=True):
        with collecting(faults):
            volume = open_volume(path, *which)
            # What the memory does not allow is said before hours are spent.
            predictor.tiling(at_training_size(volume, predictor.spec, resample).shape, wanted.settings)
            if _is_cleaned(predictor, wanted) and not scheduler:
                _refuse_uncleanable(volume)
            refuse_unwritable(target)
            if table:
                for suffixed in (table_beside(target), table_beside(target).with_suffix(".png")):
                    refuse_existing(
                        suffixed, overwrite, "table" if suffixed.suffix == ".csv" else "picture of the table"
                    )
            if scheduler and volume_format(target) != ".zarr":
                raise InputError(f"{target}: expected Zarr, whose blocks are written apart; end it in .zarr.")
            jobs.append((path, volume, target))
    if dry_run:
        say_plans(
            predictor, [at_training_size(volume, predictor.spec, resample) for _, volume, _ in jobs], settings, listener
        )
        jobs = []
    total, before, written = sum(prod(volume.shape) for _, volume, _ in jobs), 0, []
    for path, volume, target in jobs:
        with collecting(faults):
            # One volume's share of the whole.
            share = Listener(listener.say, _share(listener, before, prod(volume.shape), total))
            for line in other_size_in_words(volume, predictor.spec, resample):
                listener.say(line)
            if scheduler and recipe:
                work = BlockWork(recipe, (str(path.resolve()), *which), target, output, settings, cleaning.instances)
                predict_blocks(work, predictor, volume, scheduler, share, overwrite)
                listener.say(f"{target}: {'instances' if cleaning.instances else output}")
            else:
                with whole_volume(target, overwrite) as partial, _memory_in_words(volume):
                    written_in_words = _predict_one(predictor, volume, partial, wanted, share)
                listener.say(f"{target}: {written_in_words}")
            written.append(target)
            if table:
                _measured(predictor, volume, target, cleaning, overwrite, share)
        before += prod(volume.shape)
    if faults:
        count = [f"{len(faults)} of {len(paths)} inputs failed, the others are done:"] if len(paths) > 1 else []
        raise InputError((" " if len(faults) == 1 else "\n").join(count + faults))
    return written


def table_beside(target: Path) -> Path:
    """Return where the table of a label volume goes."""
    return target.with_name(f"{stem(target)}.csv")


def _measured(
    predictor: Predictor, volume: Volume, target: Path, cleaning: CleanSettings, overwrite: bool, listener: Listener
) -> None:
    """Write the table of a label volume that has been written."""
    labels = predictor.spec.labels
    background = labels.values[labels.background] if labels and not cleaning.instances else 0
    out, quiet = table_beside(target), Listener(listener.say)
    try:
        measure(open_volume(target, "label"), volume, out, background=background, overwrite=overwrite, listener=quiet)
    except NoObject:
        # Of many volumes one may well be empty.
        listener.say(f"{out}: not written, for there is no object in {target.name}")


def _share(listener: Listener, before: int, voxels: int, total: int) -> Callable[[int, int], None]:
    return lambda done, of: listener.progress(before + voxels * done // of, total)


@contextmanager
def _memory_in_words(volume: Volume) -> Iterator[None]:
    """Turn a backend's error into a sentence where memory runs out within."""
    try:
        yield
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        raise InputError(
            f"{volume.name}: expected memory for the prediction, found too little; give a smaller `tile`, `batch_size` or "
            "`max_ram`, and no cleaning of the whole volume."
        ) from error


def _predict_one(predictor: Predictor, volume: Volume, target: Path, wanted: _Wanted, listener: Listener) -> str:
    """Write the result of one volume to `target`, and return what it is in words."""
    volume = readable_by_crops(volume, target.parent)
    results = _results(predictor, volume, wanted, target, listener)
    counts: dict[int, int] = {}
    key = "label" if wanted.output == "labels" else wanted.output
    # The first box tells the type and the channels.
    box, values = next(results)
    with fill_volume(target, values.dtype, _named(volume, predictor, wanted), key, _channels(values)) as write:

        def put(item: tuple[Box, np.ndarray]) -> None:
            write(*item)
            if wanted.output == "labels":
                for value, count in zip(*np.unique(item[1], return_counts=True), strict=True):
                    counts[int(value)] = counts.get(int(value), 0) + int(count)

        # Written in a thread, while the network is at the next tile.
        for _ in in_threads(put, _chained((box, values), results), 1):
            pass
    shape = " x ".join(map(str, volume.shape + values.shape[3:]))
    return f"{shape}, {_shares(counts) if wanted.output == 'labels' else wanted.output}"


def _named(volume: Volume, predictor: Predictor, wanted: _Wanted) -> Volume:
    """Return the volume with the names of the label values, for formats that keep them."""
    table = predictor.spec.labels
    if not table or wanted.output != "labels" or wanted.cleaning.instances:
        return volume
    return replace(volume, layout=volume.layout | {"names": dict(zip(table.values, table.names, strict=True))})


def _results(
    predictor: Predictor, volume: Volume, wanted: _Wanted, beside: Path, listener: Listener
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield boxes of the volume with what is wanted of them; what is too large for memory is kept on the disk of `beside`."""
    statistics = predictor.examine(volume)
    working = at_training_size(volume, predictor.spec, wanted.resample)
    if working is volume and wanted.cleaning == AS_THEY_ARE and not _is_cleaned(predictor, wanted):
        yield from predictor.boxes(volume, wanted.output, wanted.settings, statistics=statistics, listener=listener)
        return
    if working is volume and wanted.cleaning == INSTANCES:
        yield from predicted_instances(
            predictor, volume, wanted.settings, beside, statistics=statistics, listener=listener
        )
        return
    # What looks at more than a tile needs the whole.
    output = "probabilities" if wanted.cleaning.instances or working is not volume else wanted.output
    statistics = statistics if working is volume else predictor.examine(working)
    as_it_is = replace(wanted.settings, clean=False)
    whole = predictor.uncalibrated.predict(working, output, as_it_is, statistics=statistics, listener=listener)
    if wanted.cleaning.instances:
        # At the voxel size that their settings were found at.
        whole = nearest(instances_of(evidence(whole), working.spacing, predictor.spec.instances), volume.shape)
    else:
        whole = whole if working is volume else resampled(from_array(whole), volume.shape).array()
        whole = whole if output == wanted.output != "probabilities" else predictor.convert(whole, wanted.output)
    whole = predictor.cleaned(whole, wanted.output, wanted.settings)
    yield tuple(slice(0, size) for size in volume.shape), _cleaned(whole, predictor, wanted.cleaning)


def _is_cleaned(predictor: Predictor, wanted: _Wanted) -> bool:
    """Return whether labels are cleaned in the way that was found to help after the training."""
    return wanted.output == "labels" and wanted.settings.clean and bool(predictor.spec.cleaning)


def _refuse_uncleanable(volume: Volume) -> None:
    """Raise `InputError` where there is too little memory to clean the labels of a volume."""
    needed, room = prod(volume.shape) * _CLEANING_BYTES, memory.available_memory()
    if room is not None and needed > room:
        raise InputError(
            f"{volume.name}: expected {gigabytes(needed)} of memory for the cleaning that this network comes with, found "
            f"{gigabytes(room)}; leave it out by `clean=False`."
        )


def _cleaned(labels: np.ndarray, predictor: Predictor, cleaning: CleanSettings) -> np.ndarray:
    table = predictor.spec.labels
    # Instances are cut out of everything; there, 0 is what was removed.
    background = table.values[table.background] if table and not cleaning.instances else 0
    if cleaning.keep_largest:
        labels = keep_largest(labels, background)
    if cleaning.remove_small:
        labels = remove_small(labels, cleaning.remove_small, background)
    if cleaning.fill_holes:
        labels = fill_holes(labels, background)
    return labels


def _shares(counts: dict[int, int]) -> str:
    total = sum(counts.values())
    shown = sorted(counts.items())
    if len(shown) > 12:
        return f"{len(shown)} labels"
    return "labels " + ", ".join(f"{value}: {count / total:.1%}" for value, count in shown)


def _channels(values: np.ndarray) -> int | None:
    return values.shape[3] if values.ndim == 4 else None


def _chained(first, rest: Iterator) -> Iterator:
    yield first
    yield from rest
