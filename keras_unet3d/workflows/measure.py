"""`measure`: a table of the objects of a label volume."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.datasets.example import on_voxels_of, open_labels
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import overlapping, refuse_existing, table_writer, whole_file
from keras_unet3d.geometry import Spacing
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.pictures.histograms import draw_histograms
from keras_unet3d.places import place
from keras_unet3d.segments.measures import object_table
from keras_unet3d.volumes import Volume, from_array, open_volume
from keras_unet3d.volumes.volume import checked_spacing
from keras_unet3d.words import plural

# Of an image with more channels than these, the picture shows the first.
_MOST_DRAWN = 4


@validated
def measure(
    labels: str | Path | np.ndarray | Volume,
    image: str | Path | np.ndarray | Volume | None = None,
    out: str | Path | None = None,
    *,
    background: int = 0,
    spacing: Spacing | None = None,
    unit: str | None = None,
    label_key: str = "label",
    raw_key: str = "raw",
    axes: str | None = None,
    scene: str | None = None,
    time: int | None = None,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> dict[str, np.ndarray]:
    """Return a table of the objects of a label volume, or of its classes: an entry per label. Volumes are read by blocks.

    Args:
        labels: label values `(z, y, x)`, whole numbers: a file, an array or a volume.
        image: of the same shape, `(z, y, x)` or `(z, y, x, channels)`, for grey values.
        out: a table to write, .csv or .parquet; a picture of the same name, .png, is written beside it. None writes nothing.
        background: the label of voxels that belong to no object.
        spacing: voxel size (z, y, x); None takes that of the labels, else that of the image.
        unit: of the voxel size; None takes that of the file, and "um" for a `spacing` that is given.
        label_key, raw_key: data sets of labels and image in HDF5 and Zarr.
        axes: the order of the files' axes; labels have no c.
        scene, time: which of several in a file.
        overwrite: whether table and picture may be replaced; never an input.
        listener: is told lines, and voxels done and voxels in all.

    Returns:
        Column -> array with an entry per object, in the order of the labels: "label", "volume_voxels", "volume_um3",
        "surface_um2", "sphericity" ...; "um" is the unit. `docs/evaluation.md` explains them.

    Raises:
        InputError: a `ValueError`: labels that are no whole numbers or have channels, no object, an image of another shape, a
            table that cannot be written; nothing is written then.
    """
    numbers = _opened(labels, "labels", label_key, axes, scene, time)
    grey = None if image is None else _opened(image, "image", raw_key, axes, scene, time)
    numbers = numbers if grey is None else on_voxels_of(grey, numbers)
    size, unit = _voxel_size(numbers, grey, spacing, unit)
    numbers = replace(numbers, spacing=size, unit=unit)
    if out is None:
        return object_table(numbers, grey, background, listener)
    out = Path(out)
    picture = out.with_suffix(".png")
    write = table_writer(out)
    for volume in (numbers, grey):
        if volume and volume.path and overlapping(out, volume.path):
            raise InputError(f"{out}: expected a table that is not an input; choose another path.")
    refuse_existing(out, overwrite, "table")
    with (
        # The table is in its place first: it counts, should we be killed in between.
        whole_file(picture, overwrite, "picture of the table") as partial_picture,
        whole_file(out, overwrite, "table") as partial,
    ):
        table = object_table(numbers, grey, background, listener)
        write(partial, table)
        draw_histograms(dict(_drawn(table)), table["touches_border"], partial_picture)
    at_border = int(table["touches_border"].sum())
    listener.say(f"{out}: {plural(len(table['label']), 'object')}, {at_border} of them at the border; {picture}")
    return table


def _opened(given: str | Path | np.ndarray | Volume, name: str, *which: Any) -> Volume:
    if isinstance(given, Volume):
        return given
    if isinstance(given, str | Path):
        path = place(given)
        return open_labels(open_volume, path, *which) if name == "labels" else open_volume(path, *which)
    return from_array(np.asarray(given), name)


def _voxel_size(
    labels: Volume, image: Volume | None, spacing: Spacing | None, unit: str | None
) -> tuple[Spacing | None, str | None]:
    """Return the voxel size and its unit."""
    if spacing is not None:
        return checked_spacing("spacing", spacing), unit or "um"
    known = next((volume for volume in (labels, image) if volume and volume.spacing), labels)
    return known.spacing, unit or known.unit


def _drawn(table: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what the picture shows: volumes in the unit, where that is known, sphericities, and mean grey values."""
    volume = [name for name in table if name.startswith("volume_")][-1]
    means = [name for name in table if name.endswith("_mean")]
    yield volume.replace("_", " in "), table[volume]
    for name in ("sphericity", *means[:_MOST_DRAWN]):
        yield name.replace("_", " "), table[name]
