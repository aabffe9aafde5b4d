"""`merge`: painted slices back into a label volume."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import SAMPLE
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import overlapping, refuse_unwritable
from keras_unet3d.labels import survey, unknown_in
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.volumes import from_array, read_plane, refuse_existing_volume, write_volume
from keras_unet3d.workflows.annotate.painting import Painting


def merge(
    folder: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> Path:
    """Write the labels of a volume with the slices painted in a folder that `suggest` wrote.

    Only what differs from the labels that there were is taken from a slice, so slices may cross; a slice that is
    as it was, or whose file was taken away, is left out.

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
        if kept != SAMPLE and overlapping(Path(kept), out):
            raise InputError(f"{out}: expected a new file for the labels, found the volume or its old labels.")
    refuse_existing_volume(out, overwrite)
    refuse_unwritable(out)
    image, raw = painting.open()
    merged, total = raw.copy(), 0
    for painted in painting.slices:
        path = folder / painted.file("labels")
        if not path.is_file():
            listener.say(f"{path.name}: the file is gone, left out")
            continue
        changed, values = _changes(path, painted.of(raw), painting)
        painted.of(merged)[changed] = values[changed]
        total += int(changed.sum())
        listener.say(
            f"{path.name}: {int(changed.sum())} voxels painted" if changed.any() else f"{path.name}: nothing painted"
        )
    if not total:
        raise InputError(f"{folder}: expected painted slices, found none; paint a *_labels.tif and save it there.")
    write_volume(out, merged, image, painting.keys.label, overwrite)
    listener.say(f"{out}: {int((merged != painting.unlabelled).sum())} labelled voxels, {total} of them new or changed")
    return out


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
