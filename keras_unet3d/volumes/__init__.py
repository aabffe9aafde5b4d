"""A volume with its axes and voxel size: opened lazily, read by crops, written back in its own format.

Whatever the file's order, a volume is `(z, y, x, channels)` here. NIfTI is turned to the closest RAS+
orientation, so z, y, x run to superior, anterior and right. One file of this folder per format.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import refuse_unwritable, whole_file, whole_folder
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.places import Place, Url, place
from keras_unet3d.volumes.axes import NoChannels, clean_axes
from keras_unet3d.volumes.formats import (
    FORMATS,
    SEVERAL,
    WRITTEN,
    Format,
    file_and_key,
    format_of,
    is_volume_name,
    result_suffix,
    stem,
    volume_format,
)
from keras_unet3d.volumes.reading import MissingKey, readable
from keras_unet3d.volumes.remote import refuse_unwritable_at, whole_at
from keras_unet3d.volumes.resampling import nearest, resampled
from keras_unet3d.volumes.scratch import kept, readable_by_crops, unpacker
from keras_unet3d.volumes.threads import in_threads
from keras_unet3d.volumes.tiff import read_plane, write_plane
from keras_unet3d.volumes.volume import (
    SPACING_TOLERANCE,
    NewVolume,
    Volume,
    cropped,
    embedded,
    from_array,
    in_memory,
    micrometres,
    stacked,
    whole_numbers,
)
from keras_unet3d.volumes.zarr import continue_zarr, start_zarr

__all__ = [
    "FORMATS",
    "SEVERAL",
    "SPACING_TOLERANCE",
    "WRITTEN",
    "Box",
    "Format",
    "MissingKey",
    "NewVolume",
    "NoChannels",
    "Volume",
    "continue_zarr",
    "cropped",
    "embedded",
    "file_and_key",
    "fill_volume",
    "from_array",
    "in_memory",
    "in_threads",
    "is_volume_name",
    "kept",
    "micrometres",
    "nearest",
    "open_inside",
    "open_volume",
    "read_plane",
    "readable_by_crops",
    "refuse_existing_volume",
    "refuse_unwritable_volume",
    "resampled",
    "result_suffix",
    "stacked",
    "start_zarr",
    "stem",
    "unpacker",
    "volume_format",
    "whole_numbers",
    "whole_volume",
    "write_plane",
    "write_volume",
]


@validated
def open_volume(
    path: str | Path,
    key: str | None = None,
    axes: str | None = None,
    scene: str | None = None,
    time: int | None = None,
) -> Volume:
    """Open a volume without reading its voxels.

    Args:
        path: a file that ends in one of `FORMATS`, a folder of slices, "stack.h5:/volumes/raw", a volume in a file, or the URL of
            a Zarr volume, like "s3://bucket/volume.zarr".
        key: the data set inside HDF5, N5 or Zarr, where the path does not name it.
        axes: the order of the file's axes, e.g. "zyx", "czyx" or "xyzc"; needed where there are four and the
            file does not say.
        scene: which of several scenes of a file, by its name or its number from 0.
        time: which of several points in time of a file, from 0.

    Raises:
        InputError: no such file, unknown format, unreadable file, or an order of axes that is not known.
    """
    file, inside = file_and_key(path)
    kind = format_of(file)
    opener = partial(kind.open, scene=scene, time=time) if kind.has_scenes else kind.open
    volume = _opened(file, opener, inside or key, axes)
    return replace(volume, layout=volume.layout | {"inside": inside}) if inside else volume


def open_inside(path: Place, key: str, axes: str | None = None) -> Volume:
    """Open the volume of that very name in a file of a format in `SEVERAL`.

    Raises:
        MissingKey: the file has none of that name.
        InputError: as `open_volume`.
    """
    opener = format_of(path).open_inside
    assert opener, f"{path}: no format in SEVERAL"
    return _opened(path, opener, key, axes)


def _opened(path: Place, opener: Callable[..., Volume], key: str | None, axes: str | None) -> Volume:
    expected = format_of(path)
    if isinstance(path, Path) and not expected.is_at(path):
        actual = ("a folder" if path.is_dir() else "a file") if path.exists() else f"no such {expected.kind}"
        raise InputError(f"{path}: expected a volume {expected.kind}, found {actual}; check the path.")
    with readable(path):
        volume = opener(path, key, clean_axes(axes))

    def read(box: Box) -> np.ndarray:
        with readable(path):
            return volume.read(box)

    return replace(volume, read=read)


@contextmanager
def whole_volume(path: Place, overwrite: bool = True, what: str = "output") -> Iterator[Place]:
    """Yield a path to `fill_volume`; it takes the place of `path` only if nothing went wrong. Enter it before long work.

    Raises:
        InputError: a volume that may not be replaced, a place that cannot be written or that another process writes, or no
            more room.
    """
    kind = format_of(path)
    with _whole(path) as partial:
        # What may be replaced is for the format to say.
        kind.refuse_existing(path, overwrite, what)
        yield partial


def _whole(path: Place) -> AbstractContextManager[Place]:
    if isinstance(path, Url):
        return whole_at(path)
    return whole_folder(path) if format_of(path).is_folder else whole_file(path)


@contextmanager
def fill_volume(
    path: Place,
    dtype: DTypeLike,
    like: Volume,
    key: str = "label",
    channels: int | None = None,
    chunks: Triple | None = None,
) -> Iterator[Callable[[Box, np.ndarray], None]]:
    """Yield a function that writes boxes of the new volume at the path that `whole_volume` yielded.

    Args:
        path: the suffix decides the format.
        dtype: of the voxels, integers or floats.
        like: the volume whose size, orientation, affine and voxel size the file takes over.
        key: the data set to write in HDF5 or Zarr.
        channels: how many; None for a plain volume.
        chunks: of Zarr (z, y, x).

    The function takes a box and its voxels, `(z, y, x)` or `(z, y, x, channels)`; boxes of any size in any order that
    cover the volume.
    """
    create = format_of(path).create
    if create is None:
        raise InputError(f"{path}: expected a format that can be written, {', '.join(WRITTEN)}; choose one of them.")
    with create(path, NewVolume(np.dtype(dtype), like, key, channels, chunks)) as write:
        yield write


def write_volume(path: str | Path, array: np.ndarray, like: Volume, key: str = "label", overwrite: bool = True) -> None:
    """Write `(z, y, x)` or `(z, y, x, channels)` with the geometry of `like`, whole or not at all.

    Args:
        path: the suffix decides the format.
        array: shaped like `like`; integers or floats.
        like: the volume whose orientation, affine and voxel size the file takes over.
        key: the data set to write in HDF5 or Zarr.
        overwrite: whether a volume that is there may be replaced.
    """
    channels = array.shape[3] if array.ndim == 4 else None
    like = replace(like, shape=triple(array.shape[:3]))
    with (
        whole_volume(place(path), overwrite) as partial,
        fill_volume(partial, array.dtype, like, key, channels) as write,
    ):
        write(tuple(slice(0, size) for size in array.shape[:3]), array)


def refuse_existing_volume(path: Place, overwrite: bool, what: str = "output") -> None:
    """Raise `InputError` if a volume may not be written to `path`, or cannot be.

    Of folders, only one that is a volume of the same format may be replaced.
    """
    format_of(path).refuse_existing(path, overwrite, what)


def refuse_unwritable_volume(path: Place) -> None:
    """Raise `InputError` if no volume can be written at `path`, or somebody else writes there."""
    if isinstance(path, Url):
        refuse_unwritable_at(path)
    else:
        refuse_unwritable(path)
