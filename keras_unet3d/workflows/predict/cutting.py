"""Instances of a Zarr volume cut box by box, here or by the workers of a Dask cluster; what was done is not done again.

Boxes are cut into pieces first, then the contacts of the pieces are found, which decide how they are joined; at last every box
is written. What a step leaves for the next one are files in one folder.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_unet3d.files import read_arrays, remove_path, replace_folder, write_arrays
from keras_unet3d.geometry import Box, Spacing, Triple, boxes_of, triple
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import Cut, Instances, InstanceSettings, voxel_edges
from keras_unet3d.segments.joining import Contacts
from keras_unet3d.segments.pieces import Pieces, number_type
from keras_unet3d.volumes import NewVolume, continue_zarr, open_volume, start_zarr
from keras_unet3d.workflows.predict.cluster import computed

EVIDENCE, LABEL = "probabilities", "label"
_PIECES, _RESULT, _LEAVING, _JOINED = "pieces.zarr", "label.zarr", "leaving.npz", "joined.npz"
_WHAT = "a step of an unfinished prediction"


@dataclass(frozen=True)
class CutJob:
    """All that a worker needs to cut any box of a volume.

    Attributes:
        folder: where everything goes.
        evidence: the Zarr folder of what the network says, whole.
        source: path, data set, order of axes, scene and point in time of the volume that the result looks like.
        shape, spacing: of the volume.
        chunks: of Zarr; boxes are made of whole ones.
        size: of a box.
        settings: how instances are cut.
    """

    folder: Path
    evidence: Path
    source: tuple[str, str | None, str | None, str | None, int | None]
    shape: Triple
    spacing: Spacing | None
    chunks: Triple
    size: Triple
    settings: InstanceSettings

    @property
    def boxes(self) -> list[Box]:
        return _boxes(self.shape, self.size)

    @property
    def cut(self) -> Cut:
        evidence = open_volume(self.evidence, EVIDENCE)
        return Cut(self.shape, evidence.read, voxel_edges(self.spacing), self.settings)

    def mark(self, step: str, number: int) -> Path:
        """Return the file that a box leaves behind in a step."""
        return self.folder / step / f"{number}.npz"

    def new(self, dtype: np.dtype) -> NewVolume:
        return NewVolume(dtype, open_volume(*self.source), LABEL, None, self.chunks)

    def numbers(self, box: Box) -> np.ndarray:
        """Return the numbers of pieces in a box."""
        return open_volume(self.folder / _PIECES, LABEL).read(box)[..., 0]


@functools.cache
def _boxes(shape: Triple, size: Triple) -> list[Box]:
    return [*boxes_of(shape, size)]


def cut_boxes(job: CutJob, scheduler: str, listener: Listener) -> Path:
    """Cut a volume whose evidence is there, and return the Zarr folder of its instances, data set "label".

    Args:
        job: what is to be cut.
        scheduler: the address of a Dask scheduler, or `cluster.HERE`.
        listener: is told boxes done and boxes in all, of every step.
    """
    _start(job, "pieces", job.folder / _PIECES, number_type(job.shape))
    _do("pieces", cut_pieces, job, scheduler, listener)
    pieces = [Pieces(**part) for part in _left_by(job, "pieces")]
    if not (job.folder / _LEAVING).exists():
        write_arrays(job.folder / _LEAVING, {"leaving": np.unique(np.concatenate([part.leaving for part in pieces]))})
    _do("contacts", find_contacts, job, scheduler, listener)
    if not (job.folder / _JOINED).exists():
        leaving = read_arrays(job.folder / _LEAVING, _WHAT)["leaving"]
        continued, contacts = np.zeros_like(leaving), []
        for part in _left_by(job, "contacts"):
            continued[part.pop("places")] = part.pop("numbers")
            contacts.append(Contacts(**part))
        found = Instances.of(pieces, contacts, job.settings, lambda _: continued)
        write_arrays(job.folder / _JOINED, vars(found))
    _start(job, "label", job.folder / _RESULT, _joined(job.folder).instances.dtype)
    _do("label", write_instances, job, scheduler, listener)
    return job.folder / _RESULT


def _start(job: CutJob, step: str, path: Path, dtype: np.dtype) -> None:
    """Make the volume that a step writes, unless it is there."""
    if not path.exists():
        # What it held may have been marked as done, as that of a call that was killed once it had moved its result away.
        remove_path(job.folder / step)
        # It is there whole, or begun anew.
        begun = path.with_name(f"new.{path.name}")
        remove_path(begun)
        start_zarr(begun, job.new(dtype))
        replace_folder(begun, path)


def _do(step: str, function: Callable[[int, CutJob], int], job: CutJob, scheduler: str, listener: Listener) -> None:
    count = len(job.boxes)
    left = [number for number in range(count) if not job.mark(step, number).exists()]
    for done, _ in enumerate(computed(function, job, left, scheduler), count - len(left) + 1):
        listener.progress(done, count)


def cut_pieces(number: int, job: CutJob) -> int:
    """Write the pieces of a box; what a worker runs."""
    box = job.boxes[number]
    numbers, pieces = job.cut.pieces(box)
    continue_zarr(job.folder / _PIECES, job.new(numbers.dtype))(box, numbers)
    write_arrays(job.mark("pieces", number), vars(pieces))
    return number


def find_contacts(number: int, job: CutJob) -> int:
    """Write the contacts of a box, and the pieces of those voxels in it that pieces of other boxes lead to."""
    box = job.boxes[number]
    contacts = job.cut.contacts(box, job.numbers)
    leaving = read_arrays(job.folder / _LEAVING, _WHAT)["leaving"]
    at = np.stack(np.unravel_index(leaving.astype(np.int64) - 1, job.shape))
    begin, end = np.array([(side.start, side.stop) for side in box]).T[..., None]
    places = np.flatnonzero(((at >= begin) & (at < end)).all(axis=0))
    numbers = job.numbers(box)[tuple(at[:, places] - begin)]
    write_arrays(job.mark("contacts", number), {**vars(contacts), "places": places, "numbers": numbers})
    return number


def write_instances(number: int, job: CutJob) -> int:
    """Write the instances of a box."""
    box, found = job.boxes[number], _joined(job.folder)
    continue_zarr(job.folder / _RESULT, job.new(found.instances.dtype))(box, found(job.numbers(box)))
    write_arrays(job.mark("label", number), {})
    return number


def box_size(chunks: Triple, wanted: Triple) -> Triple:
    """Return the size of boxes of whole chunks, no smaller than what is wanted."""
    return triple(-(-size // chunk) * chunk for chunk, size in zip(chunks, wanted, strict=True))


def _joined(folder: Path) -> Instances:
    return Instances(**read_arrays(folder / _JOINED, _WHAT))


def _left_by(job: CutJob, step: str) -> list[dict[str, np.ndarray]]:
    return [read_arrays(job.mark(step, number), _WHAT) for number in range(len(job.boxes))]
