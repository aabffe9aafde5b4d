"""A volume with its axes and voxel size: opened lazily, read by crops, written back in its own format.

Whatever the file's order, a volume is `(z, y, x, channels)` here. NIfTI is turned to the closest RAS+
orientation, so z, y, x run to superior, anterior and right. One file of this folder per format.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import refuse_existing, refuse_unwritable, whole_file, whole_folder
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.places import Place, Url, place
from keras_unet3d.volumes.axes import NoChannels, clean_axes
from keras_unet3d.volumes.hdf5 import create_hdf5, open_hdf5
from keras_unet3d.volumes.nifti import create_nifti, open_nifti
from keras_unet3d.volumes.reading import MissingKey, readable
from keras_unet3d.volumes.remote import refuse_unwritable_at, whole_at
from keras_unet3d.volumes.resampling import nearest, resampled
from keras_unet3d.volumes.scratch import kept, readable_by_crops, unpacker
from keras_unet3d.volumes.threads import in_threads
from keras_unet3d.volumes.tiff import create_tiff, open_tiff, read_plane, write_plane
from keras_unet3d.volumes.volume import (
    SPACING_TOLERANCE,
    NewVolume,
    Volume,
    cropped,
    from_array,
    in_memory,
    micrometres,
    stacked,
    whole_numbers,
)
from keras_unet3d.volumes.zarr import (
    continue_zarr,
    create_zarr,
    open_zarr,
    open_zarr_inside,
    refuse_existing_zarr,
    start_zarr,
)

__all__ = [
    "FORMATS",
    "SEVERAL",
    "SPACING_TOLERANCE",
    "Box",
    "Format",
    "MissingKey",
    "NewVolume",
    "NoChannels",
    "Volume",
    "continue_zarr",
    "cropped",
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


@dataclass(frozen=True)
class Format:
    """How volumes of a format are opened and written.

    Attributes:
        open: path, name in the file, order of axes -> volume.
        create: path, what is to be written -> within it, a function that writes boxes of it.
        open_inside: as `open`, for the volume of that very name; None for formats of one volume per file.
        is_folder: whether a volume is a folder, not a file.
        refuse_existing: path, whether it may be replaced, what to call it -> an error, unless it can be written.
    """

    open: Callable[[Any, str | None, str | None], Volume]
    create: Callable[[Any, NewVolume], AbstractContextManager[Callable[[Box, np.ndarray], None]]]
    open_inside: Callable[[Any, str, str | None], Volume] | None = None
    is_folder: bool = False
    refuse_existing: Callable[[Any, bool, str], None] = refuse_existing

    @property
    def kind(self) -> str:
        """What messages call a volume of this format."""
        return "folder" if self.is_folder else "file"

    def is_at(self, path: Place) -> bool:
        """Whether there is something at `path` that can be such a volume; what is in a store is only opened."""
        if isinstance(path, Url):
            return True
        return path.is_dir() if self.is_folder else path.is_file()


_HDF5 = Format(open_hdf5, create_hdf5, open_hdf5)
_NIFTI = Format(open_nifti, create_nifti)
_TIFF = Format(open_tiff, create_tiff)
_ZARR = Format(open_zarr, create_zarr, open_zarr_inside, is_folder=True, refuse_existing=refuse_existing_zarr)

FORMATS: dict[str, Format] = {
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".zarr": _ZARR,
}
# Suffixes of formats that hold several volumes by name: image, labels and weights in one.
SEVERAL = tuple(suffix for suffix, kind in FORMATS.items() if kind.open_inside)


@validated
def open_volume(path: str | Path, key: str | None = None, axes: str | None = None) -> Volume:
    """Open a volume without reading its voxels.

    Args:
        path: HDF5 (.h5, .hdf5), NIfTI (.nii, .nii.gz), TIFF (.tif, .tiff) or a folder of Zarr (.zarr), which may be the URL of
            one, like "s3://bucket/volume.zarr".
        key: the data set inside HDF5 or Zarr.
        axes: the order of the file's axes, e.g. "zyx", "czyx" or "xyzc"; needed where there are four and the
            file does not say.

    Raises:
        InputError: no such file, unknown format, unreadable file, or an order of axes that is not known.
    """
    path = place(path)
    return _opened(path, _format(path).open, key, axes)


def open_inside(path: Place, key: str, axes: str | None = None) -> Volume:
    """Open the volume of that very name in a file of a format in `SEVERAL`.

    Raises:
        MissingKey: the file has none of that name.
        InputError: as `open_volume`.
    """
    opener = _format(path).open_inside
    assert opener, f"{path}: no format in SEVERAL"
    return _opened(path, opener, key, axes)


def _opened(path: Place, opener: Callable[..., Volume], key: str | None, axes: str | None) -> Volume:
    expected = _format(path)
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
    kind = _format(path)
    with _whole(path) as partial:
        # What may be replaced is for the format to say.
        kind.refuse_existing(path, overwrite, what)
        yield partial


def _whole(path: Place) -> AbstractContextManager[Place]:
    if isinstance(path, Url):
        return whole_at(path)
    return whole_folder(path) if _format(path).is_folder else whole_file(path)


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
    with _format(path).create(path, NewVolume(np.dtype(dtype), like, key, channels, chunks)) as write:
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
    _format(path).refuse_existing(path, overwrite, what)


def refuse_unwritable_volume(path: Place) -> None:
    """Raise `InputError` if no volume can be written at `path`, or somebody else writes there."""
    if isinstance(path, Url):
        refuse_unwritable_at(path)
    else:
        refuse_unwritable(path)


def is_volume_name(path: Place) -> bool:
    """Return whether `path` ends as volumes do."""
    return path.name.lower().endswith(tuple(FORMATS))


def _format(path: Place) -> Format:
    suffix = volume_format(path)
    if isinstance(path, Url) and FORMATS[suffix] is not _ZARR:
        raise InputError(
            f"{path}: expected Zarr at a URL, a folder ending in .zarr, found {suffix}; copy the file to a disk, or save it as "
            "Zarr."
        )
    return FORMATS[suffix]


def volume_format(path: Place) -> str:
    """Return the suffix in `FORMATS` that `path` ends with; raises `InputError` for any other."""
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{path}: expected a volume file ending in {', '.join(FORMATS)}; found {path.suffix or 'no suffix'}."
    )


def stem(path: Place) -> str:
    """Return the file name without the format's suffix."""
    return path.name[: -len(volume_format(path))]
