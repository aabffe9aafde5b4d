"""`predict`: volume files in, label volumes of the same format and geometry out."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError, collecting
from keras_unet3d.files import overlapping, refuse_unwritable
from keras_unet3d.geometry import Box
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import memory
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.prediction.stitching import ahead
from keras_unet3d.segments.cells import instances
from keras_unet3d.segments.cleaning import fill_holes, keep_largest, remove_small
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import (
    FORMATS,
    SPACING_TOLERANCE,
    Volume,
    create_volume,
    from_array,
    is_volume_name,
    micrometres,
    open_volume,
    refuse_existing_volume,
    resampled,
    stem,
    volume_format,
)
from keras_unet3d.workflows.predict.blocks import BlockWork, Recipe, predict_blocks

AS_THEY_ARE = CleanSettings()
_PROBE = 64  # voxels per axis of the tile that a dry run times


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


def predict(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    output: str = "labels",
    settings: PredictSettings = DEFAULTS,
    cleaning: CleanSettings = AS_THEY_ARE,
    resample: bool = False,
    raw_key: str | None = None,
    axes: str | None = None,
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
        inputs: HDF5, NIfTI, TIFF or Zarr.
        out: a volume for one input, its suffix decides the format; or a folder, which keeps names and formats.
        output: "labels" (raw label values of the training data), "probabilities", "logits" (float32, channels last) or
            "uncertainty" (float32, 0 sure, 1 no idea).
        settings: how volumes are predicted.
        cleaning: what is done to the label volumes.
        resample: whether volumes are predicted at the voxel size of the training, and brought back.
        raw_key, axes: of the files; `None` takes those that the network was trained with.
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
    if cleaning.instances:
        predictor.refuse_instances()
    if scheduler and (recipe is None or cleaning != AS_THEY_ARE or resample):
        raise InputError("scheduler: expected a trained model, and neither cleaning nor resampling; leave one out.")
    paths = [Path(path) for path in inputs]
    targets = _targets(paths, Path(out), suffix, overwrite)
    keys = (raw_key or predictor.spec.keys.raw, axes or predictor.spec.keys.axes)
    faults: list[str] = []
    jobs: list[tuple[Volume, Path]] = []
    for path, target in zip(paths, targets, strict=True):
        with collecting(faults):
            volume = open_volume(path, *keys)
            # What the memory does not allow is said before hours are spent.
            predictor.tiling(_working(volume, predictor, wanted).shape, wanted.settings)
            refuse_unwritable(target, 0)
            if scheduler and volume_format(target) != ".zarr":
                raise InputError(f"{target}: expected Zarr, whose blocks are written apart; end it in .zarr.")
            jobs.append((volume, target))
    if dry_run:
        _say_plans(predictor, [volume for volume, _ in jobs], wanted, listener)
        jobs = []
    total, before, written = sum(prod(volume.shape) for volume, _ in jobs), 0, []
    for volume, target in jobs:
        with collecting(faults):
            # One volume's share of the whole.
            share = Listener(listener.say, _share(listener, before, prod(volume.shape), total))
            _say_spacing(volume, predictor, wanted, listener)
            if scheduler:
                work = BlockWork(recipe, (str(volume.path.resolve()), *keys), target, output, settings)
                predict_blocks(work, predictor, volume, scheduler, share)
                listener.say(f"{target}: {output}")
            else:
                listener.say(f"{target}: {_predict_one(predictor, volume, target, wanted, share)}")
            written.append(target)
        before += prod(volume.shape)
    if faults:
        count = [f"{len(faults)} of {len(paths)} inputs failed, the others are done:"] if len(paths) > 1 else []
        raise InputError((" " if len(faults) == 1 else "\n").join(count + faults))
    return written


def _share(listener: Listener, before: int, voxels: int, total: int) -> Callable[[int, int], None]:
    return lambda done, of: listener.progress(before + voxels * done // of, total)


def _predict_one(predictor: Predictor, volume: Volume, target: Path, wanted: _Wanted, listener: Listener) -> str:
    """Write the result of one volume, and return what it is in words."""
    results = _results(predictor, volume, wanted, listener)
    counts: dict[int, int] = {}
    key = "label" if wanted.output == "labels" else wanted.output
    # The first box tells the type and the channels.
    box, values = next(results)
    with _room_for(target), create_volume(target, values.dtype, volume, key, _channels(values)) as write:

        def put(item: tuple[Box, np.ndarray]) -> None:
            write(*item)
            if wanted.output == "labels":
                for value, count in zip(*np.unique(item[1], return_counts=True), strict=True):
                    counts[int(value)] = counts.get(int(value), 0) + int(count)

        # Written in a thread, while the network is at the next tile.
        for _ in ahead(put, _chained((box, values), results)):
            pass
    shape = " x ".join(map(str, volume.shape + values.shape[3:]))
    return f"{shape}, {_shares(counts) if wanted.output == 'labels' else wanted.output}"


def _results(
    predictor: Predictor, volume: Volume, wanted: _Wanted, listener: Listener
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield boxes of the volume with what is wanted of them."""
    statistics = predictor.examine(volume)
    working = _working(volume, predictor, wanted)
    output = "probabilities" if wanted.cleaning.instances or working is not volume else wanted.output
    if output == wanted.output and wanted.cleaning == AS_THEY_ARE:
        yield from predictor.boxes(volume, output, wanted.settings, statistics=statistics, listener=listener)
        return
    # What looks at more than a tile needs the whole.
    statistics = statistics if working is volume else predictor.examine(working)
    whole = predictor.predict(working, output, wanted.settings, statistics=statistics, listener=listener)
    if working is not volume:
        whole = resampled(from_array(whole), volume.shape).array()
    if wanted.cleaning.instances:
        whole = instances(whole[..., 1], spacing=volume.spacing)
    elif output != wanted.output:
        whole = predictor.convert(whole, wanted.output)
    yield tuple(slice(0, size) for size in volume.shape), _cleaned(whole, predictor, wanted.cleaning)


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


def _working(volume: Volume, predictor: Predictor, wanted: _Wanted) -> Volume:
    """Return the volume at the voxel size that the network is to see."""
    if not wanted.resample:
        return volume
    if volume.spacing is None or predictor.spec.spacing is None:
        whose = volume.name if volume.spacing is None else "the network's training"
        raise InputError(f"{whose}: expected a voxel size to resample by, found none; leave out `resample`.")
    ratio = _coarser(volume, predictor)
    shape = tuple(max(1, round(size * each)) for size, each in zip(volume.shape, ratio, strict=True))
    if shape == volume.shape:
        return volume
    classes = predictor.spec.labels.num_classes if predictor.spec.labels else 1
    needed, room = 4 * classes * (prod(shape) + prod(volume.shape)), memory.available_memory()
    if room is not None and needed > room:
        sizes = " x ".join(map(str, shape))
        raise InputError(
            f"{volume.name}: expected {needed / 1e9:.1f} GB to hold the probabilities of {sizes} voxels, found "
            f"{room / 1e9:.1f} GB; correct the voxel size, {_size(volume)}, or leave out `resample`."
        )
    return resampled(volume, shape)


def _coarser(volume: Volume, predictor: Predictor) -> np.ndarray:
    """Return how many times the training's voxel size that of the volume is, along each axis."""
    sizes = volume.micrometres, micrometres(predictor.spec.spacing, predictor.spec.unit)
    # Units that nobody knows are taken to be the same.
    return np.divide(*((volume.spacing, predictor.spec.spacing) if None in sizes else sizes))


def _targets(inputs: list[Path], out: Path, suffix: str | None, overwrite: bool) -> list[Path]:
    is_volume = is_volume_name(out)
    if is_volume and len(inputs) > 1:
        raise InputError(f"{out}: expected a folder for {len(inputs)} inputs, found the name of one file.")
    # "result.png" is meant as a file, "run.v2" may be a folder.
    if not is_volume and (out.is_file() or (out.suffix[1:].isalpha() and not out.is_dir())):
        raise InputError(f"{out}: expected a folder, or a file ending in {', '.join(FORMATS)}; found {out.name!r}.")
    if suffix is not None and suffix not in FORMATS:
        raise InputError(f"suffix: expected one of {', '.join(FORMATS)}; found {suffix!r}.")
    targets = [out] if is_volume else [out / (stem(path) + (suffix or volume_format(path))) for path in inputs]
    for position, (path, target) in enumerate(zip(inputs, targets, strict=True)):
        if target in targets[:position]:
            raise InputError(f"{path}: expected inputs of different names, found {target.name} twice; use two folders.")
        # A volume may be a folder: an output in it would spoil it, an output around it would replace it.
        if any(overlapping(target, each) for each in inputs):
            raise InputError(f"{target}: expected an output that is not an input; choose another path.")
        refuse_existing_volume(target, overwrite)
    return targets


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """Say in words that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{target}: expected room for the result, found the disk full; make room, or choose another path."
        ) from error


def _say_spacing(volume: Volume, predictor: Predictor, wanted: _Wanted, listener: Listener) -> None:
    if not volume.spacing or not predictor.spec.spacing:
        return
    ratio = _coarser(volume, predictor)
    if (np.maximum(ratio, 1 / ratio) <= SPACING_TOLERANCE).all():
        return
    sizes = f"voxel size {_size(volume)} differs from the training's {_size(predictor.spec)}"
    what = "resampled, and back" if wanted.resample else "expect a worse result, or add `resample=True`"
    listener.say(f"{volume.name}: {sizes}; {what}")


def _say_plans(predictor: Predictor, volumes: Sequence[Volume], wanted: _Wanted, listener: Listener) -> None:
    """Say for every volume what would be computed, and how long it may take."""
    speed = _voxels_per_second(predictor, volumes[0].channels, wanted.settings) if volumes else 0.0
    for volume in volumes:
        working = _working(volume, predictor, wanted)
        tiling = predictor.tiling(working.shape, wanted.settings)
        seconds = prod(tiling.tile) * tiling.count / speed
        listener.say(
            f"{volume.name}: {tiling.in_words()}; {predictor.memory.in_words(tiling.tile, wanted.settings)}, about {_time(seconds)}"
        )


def _voxels_per_second(predictor: Predictor, channels: int, settings: PredictSettings) -> float:
    size = predictor.tile or tuple(predictor.spec.geometry.legal_at_least(_PROBE, axis) for axis in range(3))
    tile = np.random.default_rng(0).normal(size=(1, *size, channels)).astype(np.float32)
    network = predictor.seen(predictor.network, settings)
    network(tile)  # the first call compiles
    start = time.perf_counter()
    network(tile)
    return prod(size) / (time.perf_counter() - start)


def _time(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.1f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )


def _size(of: Volume | ModelSpec) -> str:
    return " x ".join(f"{size:.3g}" for size in of.spacing) + (f" {of.unit}" if of.unit else "")


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
