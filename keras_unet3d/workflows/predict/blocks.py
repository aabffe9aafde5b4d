"""Blocks of a Zarr volume that are computed apart, here or by the workers of a Dask cluster.

Every block is written by whoever computed it, and marked as done afterwards; what was done is not done again. The volume
takes its place when all blocks are there.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.choices import MERGES
from keras_unet3d.errors import InputError, room_for
from keras_unet3d.files import claimed, read_json, remove_path, replace_folder, write_bytes, write_json
from keras_unet3d.geometry import Box
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.places import Place, Url, place
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.prediction.tiling import Tiling, block_size, blocks
from keras_unet3d.segments.cells import evidence
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import NewVolume, Volume, continue_zarr, open_volume, refuse_existing_volume, start_zarr
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.volumes.remote import MARKS
from keras_unet3d.workflows.predict.cluster import computed
from keras_unet3d.workflows.predict.cutting import EVIDENCE, CutJob, box_size, cut_boxes
from keras_unet3d.workflows.predict.instances import BLOCK

_PLAN, _DONE, _VOLUME = "plan.json", "done", "volume.zarr"
# Settings that do not change the result (no block is cleaned), or stand in the plan by themselves.
_NO_MATTER = ("max_ram", "batch_size", "tile", "merge", "clean")


@dataclass(frozen=True)
class Recipe:
    """How the predictor is got, in this process or another: `load(*arguments)`.

    The arguments say which one it is; `files` are those whose change would make it another.
    """

    load: Callable[..., Predictor]
    arguments: tuple
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockWork:
    """What is to be computed block by block; workers see the same files.

    Attributes:
        recipe: of the predictor.
        source: path, data set, order of axes, scene and point in time of the volume.
        target: the Zarr folder that takes its place when all blocks are there.
        output: one of `choices.OUTPUTS`.
        settings: how.
        instances: whether labels are instances, cut out of what the network says.
    """

    recipe: Recipe
    source: tuple[str, str | None, str | None, str | None, int | None]
    target: Path
    output: str
    settings: PredictSettings
    instances: bool = False

    @property
    def folder(self) -> Path:
        """Where the blocks go; named after the target, so that the next call finds it."""
        return self.target.with_name(f".unfinished.{self.target.name}")

    @property
    def key(self) -> str:
        """The data set that the blocks make."""
        return "label" if self.output == "labels" and not self.instances else self.said

    @property
    def said(self) -> str:
        """What is asked of the network: of what instances are cut out of, its probabilities."""
        return EVIDENCE if self.instances else self.output

    def convert(self, values: np.ndarray) -> np.ndarray:
        """Return what blocks hold, of what was asked for."""
        return evidence(values) if self.instances else values


@dataclass(frozen=True)
class Job:
    """All that a worker needs to compute any block of a volume.

    Attributes:
        work: what is to be computed.
        statistics: of the whole volume's grey values.
        tiling: of the whole volume.
    """

    work: BlockWork
    statistics: Statistics
    tiling: Tiling

    def mark(self, number: int) -> Path:
        """Return the file that says that a block has been written."""
        return self.work.folder / _DONE / str(number)


def compute(number: int, job: Job) -> int:
    """Compute, write and mark a block of a job, and return its number; what a worker runs."""
    work = job.work
    predictor = _as_asked(_predictor(work.recipe.load, work.recipe.arguments), work)
    volume = open_volume(*work.source)
    write = continue_zarr(work.folder / _VOLUME, _new(job, predictor, volume))
    tiling = job.tiling.part(_boxes(job.tiling)[number])
    for box, values in predictor.boxes(volume, work.said, work.settings, tiling=tiling, statistics=job.statistics):
        write(box, work.convert(values))
    write_bytes(job.mark(number), b"")
    return number


def predict_blocks(
    work: BlockWork,
    predictor: Predictor,
    volume: Volume,
    scheduler: str,
    listener: Listener = SILENT,
    overwrite: bool = False,
) -> None:
    """Write the prediction of a volume to a Zarr folder, block by block.

    Args:
        work: what is to be computed, and how workers get at it.
        predictor, volume: the same, of this process.
        scheduler: the address of a Dask scheduler, or `cluster.HERE`.
        listener: is told lines, and voxels done and voxels in all.
        overwrite: whether a target that is there may be replaced.

    Raises:
        InputError: an unfinished prediction of another kind, no cluster, or a package that is missing.
    """
    with claimed(work.target), room_for(work.target):
        refuse_existing_volume(work.target, overwrite)
        begun = _begun(work.folder)
        if begun:
            # The tile was chosen by the memory that was free then.
            tile = work.settings.tile or tuple(begun["tile"])
            work = replace(work, settings=replace(work.settings, tile=tile, merge=begun["merge"]))
        tiling = predictor.tiling(volume.shape, work.settings, uniform=True)
        job = Job(work, predictor.examine(volume), tiling)
        if begun:
            _refuse_another(begun, _plan(job), work.folder)
        else:
            _begin(job, predictor, volume)
        sizes = [prod(side.stop - side.start for side in box) for box in _boxes(tiling)]
        left = [number for number in range(len(sizes)) if not job.mark(number).exists()]
        if len(left) < len(sizes):
            listener.say(f"{work.target}: {len(sizes) - len(left)} of {len(sizes)} blocks are done already")
        done = sum(sizes) - sum(sizes[number] for number in left)
        for number in computed(compute, job, left, scheduler):
            done += sizes[number]
            listener.progress(done, sum(sizes))
        finished = work.folder / _VOLUME
        if work.instances:
            chunks = block_size(tiling)
            cut = CutJob(
                work.folder,
                finished,
                work.source,
                volume.shape,
                volume.spacing,
                chunks,
                box_size(chunks, BLOCK),
                predictor.spec.instances,
            )
            finished = cut_boxes(cut, scheduler, listener)
        replace_folder(finished, work.target)
        remove_path(work.folder)


def _begun(folder: Path) -> dict | None:
    """Return the plan of an unfinished prediction, None where there is none; what has no plan yet is removed."""
    # A call that was killed once it had moved its volume away has left the rest.
    if (folder / _PLAN).is_file() and (folder / _VOLUME).exists():
        begun = read_json(folder / _PLAN, "the plan of an unfinished prediction")
        tile = begun.get("tile")
        if not (isinstance(tile, list) and [type(size) for size in tile] == [int] * 3 and begun.get("merge") in MERGES):
            raise InputError(
                f"{folder / _PLAN}: expected the plan of an unfinished prediction, found another one; remove the folder to begin "
                "anew."
            )
        return begun
    remove_path(folder)
    return None


def _refuse_another(begun: dict, plan: dict, folder: Path) -> None:
    other = [name for name in plan if begun.get(name) != plan[name]]
    if other:
        raise InputError(
            f"{folder}: expected blocks of the same prediction, found those of another ({', '.join(other)} differ); "
            "remove the folder to begin anew."
        )


def _begin(job: Job, predictor: Predictor, volume: Volume) -> None:
    folder = job.work.folder
    start_zarr(folder / _VOLUME, _new(job, predictor, volume))
    # Comes last: a folder without it is begun anew.
    write_json(folder / _PLAN, _plan(job))


def _plan(job: Job) -> dict:
    """Return what decides the result, as JSON-ready values."""
    work = job.work
    files = [work.source[0], *work.recipe.files]
    return {
        "input": [*work.source],
        "files": {path: _fingerprint(place(path)) for path in files},
        "output": "instances" if work.instances else work.output,
        "tile": list(job.tiling.tile),
        "merge": job.tiling.merge.name,
        "settings": {name: value for name, value in work.settings.config().items() if name not in _NO_MATTER},
    }


def _fingerprint(path: Place) -> str:
    """Return what tells a file or folder from a changed one: names, sizes and times, not the bytes; in a store its description."""
    if isinstance(path, Url):
        marks = (path / mark for mark in MARKS)
        return hashlib.sha256(b"".join(mark.content() or b"" for mark in marks)).hexdigest()
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for part in parts:
        status = part.stat()
        digest.update(f"{part.name} {status.st_size if part.is_file() else 0} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _new(job: Job, predictor: Predictor, volume: Volume) -> NewVolume:
    """Return what the blocks make; every one of them is made of whole chunks."""
    # What an output looks like, a voxel of it tells.
    classes = predictor.spec.labels.num_classes if predictor.spec.labels else 1
    voxel = job.work.convert(predictor.convert(np.ones((1, 1, 1, classes), np.float32), job.work.said))
    channels = voxel.shape[3] if voxel.ndim == 4 else None
    return NewVolume(voxel.dtype, volume, job.work.key, channels, block_size(job.tiling))


def _as_asked(predictor: Predictor, work: BlockWork) -> Predictor:
    # Instances are cut by what the network itself gives.
    return predictor.uncalibrated if work.instances else predictor


@functools.cache
def _boxes(tiling: Tiling) -> list[Box]:
    return list(blocks(tiling))


@functools.cache
def _predictor(load: Callable[..., Predictor], arguments: tuple) -> Predictor:
    return load(*arguments)
