"""`merge`: painted slices back into a label volume."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import SAMPLE
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.fields import validated
from keras_unet3d.files import overlapping, refuse_unwritable
from keras_unet3d.labels import survey, unknown_in
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.places import place
from keras_unet3d.volumes import from_array, read_plane, refuse_existing_volume, write_volume
from keras_unet3d.words import plural
from keras_unet3d.workflows.annotate.painting import Painting


@validated
def merge(
    folder: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> Path:
    """Write the labels of a volume with the slices painted in a folder that `suggest` wrote.

    Only what differs from the labels that there were is taken from a slice, so slices may cross; a slice that is
    as it was, or whose file was taken away, is left out. Voxels that had a label and got another one, or none, are counted
    and said, and so are those that two slices paint differently, of which the later one counts.

    Args:
        folder: written by `suggest`, its `*_labels.tif` painted since.
        out: the label file to write, in the geometry of the volume; never the volume itself or its old labels.
        overwrite: whether an earlier `out` may be replaced.
        listener: is told lines.

    Raises:
        InputError: a `ValueError`: a slice of another size or with a value that is no label, or nothing painted;
            nothing is written then.
    """
    folder, out = Path(folder), Path(out)
    painting = Painting.read(folder)
    for kept in filter(None, (painting.volume, painting.labels)):
        if kept != SAMPLE and overlapping(place(kept), out):
            raise InputError(f"{out}: expected a new file for the labels, found the volume or its old labels.")
    refuse_existing_volume(out, overwrite)
    refuse_unwritable(out)
    image, raw = painting.open()
    merged, total, corrected = raw.copy(), 0, 0
    for painted in painting.slices:
        path = folder / painted.file("labels")
        if not path.is_file():
            listener.say(f"{path.name}: the file is gone, left out")
            continue
        before, so_far = painted.of(raw), painted.of(merged)
        changed, values = _changes(path, before, painting)
        over = int((changed & (before != painting.unlabelled)).sum())
        otherwise = int((changed & (so_far != before) & (so_far != values)).sum())
        so_far[changed] = values[changed]
        total, corrected = total + int(changed.sum()), corrected + over
        listener.say(f"{path.name}: {_painted_in_words(int(changed.sum()), over, otherwise)}")
    if not total:
        raise InputError(f"{folder}: expected painted slices, found none; paint a *_labels.tif and save it there.")
    write_volume(out, merged, image, painting.keys.label, overwrite)
    kept = f", {corrected} of them over earlier labels; the earlier file is as it was" if corrected else ""
    listener.say(
        f"{out}: {int((merged != painting.unlabelled).sum())} labelled voxels; {plural(total, 'voxel')} painted{kept}"
    )
    return out


def _painted_in_words(changed: int, over: int, otherwise: int) -> str:
    """Return what a slice brings: voxels painted, those that had a label, and those that another slice has otherwise."""
    if not changed:
        return "nothing painted"
    corrected = f", {over} of them over earlier labels" if over else ""
    disputed = f", {otherwise} of them otherwise than in a slice before; this one counts" if otherwise else ""
    return f"{plural(changed, 'voxel')} painted{corrected}{disputed}"


def _changes(path: Path, before: np.ndarray, painting: Painting) -> tuple[np.ndarray, np.ndarray]:
    """Return where a painted slice differs from the labels before, and its values."""
    plane = read_plane(path)
    if plane.shape != before.shape:
        raise InputError(
            f"{path}: expected one label per pixel, (rows, columns) = {before.shape}; found {plane.shape}; "
            "save it as labels of 8 or 16 bit, not in colours, and do not crop it."
        )
    counts = survey(from_array(plane[None], str(path))).counts
    table = replace(painting.table, unlabelled=(painting.unlabelled,))
    refuse(unknown_in(str(path), counts, table, f"paint with those, or {painting.unlabelled} for not labelled"))
    plane = plane.astype(np.int64)
    if before.dtype != np.result_type(before.dtype, np.min_scalar_type(int(plane.max()))):
        raise InputError(
            f"{path}: expected instances up to {np.iinfo(before.dtype).max}, found {plane.max()}; use others."
        )
    return plane != before, plane
