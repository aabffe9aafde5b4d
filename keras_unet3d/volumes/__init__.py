"""A volume with its axes and voxel size: opened lazily, read by crops, written back in its own format.

Whatever the file's order, a volume is `(z, y, x, channels)` here. NIfTI is turned to the closest RAS+
orientation, so z, y, x run to superior, anterior and right. One file of this folder per format.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import whole_file
from keras_unet3d.volumes.axes import clean_axes
from keras_unet3d.volumes.hdf5 import open_hdf5, write_hdf5
from keras_unet3d.volumes.nifti import open_nifti, write_nifti
from keras_unet3d.volumes.reading import readable
from keras_unet3d.volumes.tiff import open_tiff, read_plane, write_plane, write_tiff
from keras_unet3d.volumes.volume import Box, Volume, from_array, in_memory, stacked

__all__ = [
    "FORMATS",
    "Box",
    "Volume",
    "from_array",
    "in_memory",
    "open_volume",
    "read_plane",
    "readable",
    "stacked",
    "stem",
    "volume_format",
    "write_plane",
    "write_volume",
]

FORMATS: dict[str, tuple[Callable, Callable]] = {
    ".h5": (open_hdf5, write_hdf5),
    ".hdf5": (open_hdf5, write_hdf5),
    ".nii": (open_nifti, write_nifti),
    ".nii.gz": (open_nifti, write_nifti),
    ".tif": (open_tiff, write_tiff),
    ".tiff": (open_tiff, write_tiff),
}


def open_volume(path, key: str | None = None, axes: str | None = None) -> Volume:
    """Open a volume without reading its voxels.

    Args:
        path: HDF5 (.h5, .hdf5), NIfTI (.nii, .nii.gz) or TIFF (.tif, .tiff).
        key: the data set inside an HDF5 file.
        axes: the order of the file's axes, e.g. "zyx", "czyx" or "xyzc"; needed where there are four.

    Raises:
        InputError: no such file, unknown format, unreadable file, or an order of axes that is not known.
    """
    path = Path(path)
    opener, _ = FORMATS[volume_format(path)]
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a volume file, found {found}; check the path.")
    with readable(path):
        return opener(path, key, clean_axes(axes))


def write_volume(path, array: np.ndarray, like: Volume, key: str = "label") -> None:
    """Write `(z, y, x)` or `(z, y, x, channels)` with the geometry of `like`, whole or not at all.

    Args:
        path: the suffix decides the format.
        array: shaped like `like`; integers or floats.
        like: the volume whose orientation, affine and voxel size the file takes over.
        key: the data set to write in an HDF5 file.
    """
    path = Path(path)
    _, writer = FORMATS[volume_format(path)]
    with whole_file(path) as partial:
        writer(partial, array, like, key)


def volume_format(path: Path) -> str:
    """Return the suffix in `FORMATS` that `path` ends with; raises `InputError` for any other."""
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{path}: expected a volume file ending in {', '.join(FORMATS)}; found {path.suffix or 'no suffix'}."
    )


def stem(path: Path) -> str:
    """Return the file name without the format's suffix."""
    return path.name[: -len(volume_format(path))]
