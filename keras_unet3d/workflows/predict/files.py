"""`predict`: volume files in, label volumes of the same format and geometry out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError, collecting
from keras_unet3d.fields import validated
from keras_unet3d.files import made_folder, on_disk, refuse_existing, temporary_place
from keras_unet3d.geometry import Box
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import memory
from keras_unet3d.pictures.label_colours import ClassColour, class_colours, colour_files, write_label_colours
from keras_unet3d.places import Place, Url, place
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.segments.measures import NoObject
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import (
    Volume,
    fill_volume,
    in_threads,
    open_volume,
    readable_by_crops,
    refuse_unwritable_volume,
    stem,
    volume_format,
    whole_volume,
)
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.words import plural
from keras_unet3d.workflows.measure import measure
from keras_unet3d.workflows.predict.blocks import BlockWork, Recipe, predict_blocks
from keras_unet3d.workflows.predict.dry_run import say_plans
from keras_unet3d.workflows.predict.results import AS_THEY_ARE, INSTANCES, Wanted, results
from keras_unet3d.workflows.predict.targets import is_there, refuse_same, targets_of
from keras_unet3d.workflows.predict.voxel_size import at_training_size, other_size_in_words, refuse_too_fine

# An open volume and its statistics -> the predictor that is best for it, and how workers get that.
Choose = Callable[[Volume, Statistics], tuple[Predictor, Recipe | None]]


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
    colours: bool = False,
    raw_key: str | None = None,
    axes: str | None = None,
    scene: str | None = None,
    time: int | None = None,
    suffix: str | None = None,
    scheduler: str | None = None,
    recipe: Recipe | None = None,
    choose: Choose | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    listener: Listener = SILENT,
) -> list[Place]:
    """Segment volume files and return the files of the results, one per input.

    A file that cannot be read does not stop the others; it is named at the end.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        inputs: volumes of any format, files or folders, or URLs of Zarr.
        out: a volume for one input, its suffix decides the format; or a folder, which keeps names and formats. A URL is that of a
            Zarr volume, or of a folder of such.
        output: "labels" (raw label values of the training data), "probabilities", "logits" (float32, channels last) or
            "uncertainty" (float32, 0 sure, 1 no idea).
        settings: how volumes are predicted.
        cleaning: what is done to the label volumes.
        resample: whether volumes are predicted at the voxel size of the training, and brought back.
        table: whether a table of the objects is written beside every label volume, as `measure` does it: its name with .csv.
        colours: whether files with the names and colours of the classes are written beside every label volume: NAME.label.txt
            for ITK-SNAP, NAME.ctbl for 3D Slicer, and NAME.lut for Fiji where no value is above 255.
        raw_key, axes, scene, time: of the files; `None` takes those that the network was trained with.
        suffix: format of the results in a folder, like ".nii.gz"; None keeps the inputs'.
        scheduler: address of a Dask scheduler whose workers compute blocks of Zarr volumes, or "here": in this process. What
            was stopped goes on with the next call.
        recipe: with a scheduler, how workers get the predictor.
        choose: returns, of an open volume and its statistics, the predictor that is to compute in the place of `predictor`, and
            its recipe; asked once all that is cheap has been checked. `zoo.chooser` makes one.
        overwrite: whether files that are there may be replaced; never an input.
        resume: whether results that are there stay as they are, and the other inputs alone are predicted.
        dry_run: say what would be done, and do nothing.
        listener: is told lines, and voxels done and voxels in all.

    Raises:
        InputError: a `ValueError`: a wrong call, or anything wrong with one of the files, all of which are named.
    """
    wanted = Wanted(output, settings, cleaning, resample)
    predictor.refuse_output(output, settings)
    if table and output != "labels":
        raise InputError(f"table: expected labels, whose objects are measured, found {output!r}; leave it out.")
    classes = _colours(predictor, output, cleaning) if colours else []
    if predictor.spec.labels and predictor.spec.labels.by_channel and (table or cleaning != AS_THEY_ARE):
        raise InputError(
            "labels: expected a value per voxel to clean or to measure, found a channel per class; leave that out."
        )
    if cleaning.instances:
        predictor.refuse_instances()
    if scheduler and ((recipe or choose) is None or cleaning not in (AS_THEY_ARE, INSTANCES) or resample):
        raise InputError("scheduler: expected a trained model, and neither cleaning nor resampling; leave one out.")
    if scheduler and predictor.cleaning(output, settings):
        listener.say("blocks are not cleaned, which takes the whole volume: the labels are those of `clean=False`")
    paths = [place(path) for path in inputs]
    if resume and overwrite:
        raise InputError(
            "resume: expected to keep the results that are there or to overwrite them, found both; leave one out."
        )
    targets = results = targets_of(paths, place(out), suffix, overwrite or resume)
    on_disk_alone = {"table": table, "scheduler": scheduler, "colours": colours}
    if isinstance(place(out), Url) and any(on_disk_alone.values()):
        refused = next(name for name, given in on_disk_alone.items() if given)
        raise InputError(f"{refused}: expected results on a disk, found {out}; leave it out, or predict to a folder.")
    if table:
        refuse_same(paths, [table_beside(target) for target in targets])
    if resume:
        left = [(path, target) for path, target in zip(paths, targets, strict=True) if not is_there(target)]
        listener.say(f"{len(paths) - len(left)} of {plural(len(paths), 'result')} are there, and stay as they are")
        paths, targets = [path for path, _ in left], [target for _, target in left]
    keys = predictor.spec.keys.replaced(raw=raw_key, axes=axes, scene=scene, time=time)
    which = keys.of(keys.raw)
    faults: list[str] = []
    jobs: list[tuple[Place, Volume, Place]] = []
    for path, target in zip(paths, targets, strict=True):
        with collecting(faults):
            volume = open_volume(path, *which)
            # What the memory does not allow is said before hours are spent.
            working = at_training_size(volume, predictor.spec, resample)
            predictor.tiling(working.shape, wanted.settings)
            if working is not volume:
                refuse_too_fine(volume, working, predictor.spec, on_disk(target).parent)
            refuse_unwritable_volume(target)
            for beside, what in _beside(target, table, classes):
                refuse_existing(beside, overwrite, what)
            if scheduler and volume_format(target) != ".zarr":
                raise InputError(f"{target}: expected Zarr, whose blocks are written apart; end it in .zarr.")
            jobs.append((path, volume, target))
    choose = choose or (lambda volume, statistics: (predictor, recipe))
    if dry_run:
        computing, in_order = predictor, []
        for _, volume, _ in jobs:
            with collecting(faults):
                computing, _ = choose(*_examined(predictor, volume, temporary_place()))
                in_order.append(at_training_size(volume, predictor.spec, resample))
        say_plans(computing, in_order, settings, listener)
        jobs = []
    total, before = sum(prod(volume.shape) for _, volume, _ in jobs), 0
    for path, volume, target in jobs:
        with collecting(faults), made_folder(on_disk(target).parent, on_disk(target)), _memory_in_words(volume):
            # One volume's share of the whole.
            share = replace(listener, progress=_share(listener, before, prod(volume.shape), total))
            for line in other_size_in_words(volume, predictor.spec, resample):
                listener.say(line)
            readable, statistics = _examined(predictor, volume, on_disk(target).parent)
            computing, how = choose(readable, statistics)
            computing.refuse_output(output, settings)
            if scheduler and how and isinstance(target, Path):
                work = BlockWork(how, (str(path.resolve()), *which), target, output, settings, cleaning.instances)
                predict_blocks(work, computing, readable, scheduler, share, overwrite)
                listener.say(f"{target}: {'instances' if cleaning.instances else output}")
            else:
                with whole_volume(target, overwrite) as partial:
                    written_in_words = _predict_one(computing, readable, statistics, partial, wanted, share)
                listener.say(f"{target}: {written_in_words}")
            listener.figures("volume", {"input": str(path), "output": str(target)})
            if table:
                _measured(predictor, volume, target, cleaning, overwrite, share)
            for beside in write_label_colours(on_disk(target).with_name(stem(target)), classes):
                listener.say(f"{beside}: the names and colours of the classes")
        before += prod(volume.shape)
    if faults:
        count = [f"{len(faults)} of {len(paths)} inputs failed, the others are done:"] if len(paths) > 1 else []
        raise InputError((" " if len(faults) == 1 else "\n").join(count + faults))
    return [] if dry_run else results


def _examined(predictor: Predictor, volume: Volume, folder: Path) -> tuple[Volume, Statistics]:
    """Return a volume whose crops are read as they are, what is packed unpacked once on the disk of a folder, and its statistics."""
    readable = readable_by_crops(volume, folder)
    return readable, predictor.examine(readable)


def _colours(predictor: Predictor, output: str, cleaning: CleanSettings) -> list[ClassColour]:
    """Return the colours of the classes in the label volumes to be written."""
    table = predictor.spec.labels
    if table is None or output != "labels" or cleaning.instances or table.by_channel:
        raise InputError(
            "colours: expected label volumes of classes, which have names; found other ones; leave it out."
        )
    return class_colours(table.written_values, table.shown_names, table.unseen)


def table_beside(target: Place) -> Path:
    """Return where the table of a label volume on a disk goes."""
    return on_disk(target).with_name(f"{stem(target)}.csv")


def _beside(target: Place, table: bool, classes: Sequence[ClassColour]) -> Iterator[tuple[Path, str]]:
    """Yield the files that will be written beside a label volume, and what they are."""
    if table:
        yield table_beside(target), "table"
        yield table_beside(target).with_suffix(".png"), "picture of the table"
    for path in colour_files(on_disk(target).with_name(stem(target)), classes):
        yield path, "file of colours"


def _measured(
    predictor: Predictor, volume: Volume, target: Place, cleaning: CleanSettings, overwrite: bool, listener: Listener
) -> None:
    """Write the table of a label volume that has been written."""
    background = 0 if cleaning.instances else predictor.background()
    out, quiet = table_beside(target), replace(listener, progress=SILENT.progress)
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
            "`max_ram`."
        ) from error


def _predict_one(
    predictor: Predictor, volume: Volume, statistics: Statistics, target: Place, wanted: Wanted, listener: Listener
) -> str:
    """Write the result of one volume to `target`, and return what it is in words."""
    parts = results(predictor, volume, statistics, wanted, on_disk(target), listener)
    counts: dict[int, int] = {}
    key = "label" if wanted.output == "labels" else wanted.output
    # The first box tells the type and the channels.
    box, values = next(parts)
    with fill_volume(target, values.dtype, _named(volume, predictor, wanted), key, _channels(values)) as write:

        def put(item: tuple[Box, np.ndarray]) -> None:
            write(*item)
            if wanted.output == "labels":
                for value, count in zip(*np.unique(item[1], return_counts=True), strict=True):
                    counts[int(value)] = counts.get(int(value), 0) + int(count)

        # Written in a thread, while the network is at the next tile.
        for _ in in_threads(put, chain([(box, values)], parts), 1):
            pass
    shape = " x ".join(map(str, volume.shape + values.shape[3:]))
    return f"{shape}, {_shares(counts) if wanted.output == 'labels' else wanted.output}"


def _named(volume: Volume, predictor: Predictor, wanted: Wanted) -> Volume:
    """Return the volume with the names of the label values, for formats that keep them."""
    table = predictor.spec.labels
    if not table or wanted.output != "labels" or wanted.cleaning.instances:
        return volume
    return replace(volume, layout=volume.layout | {"names": dict(zip(table.values, table.names, strict=False))})


def _shares(counts: dict[int, int]) -> str:
    total = sum(counts.values())
    shown = sorted(counts.items())
    if len(shown) > 12:
        return f"{len(shown)} labels"
    return "labels " + ", ".join(f"{value}: {count / total:.1%}" for value, count in shown)


def _channels(values: np.ndarray) -> int | None:
    return values.shape[3] if values.ndim == 4 else None
