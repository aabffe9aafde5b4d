"""Which format a volume has: by the suffix of its name, or in a folder of slices by theirs."""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import refuse_existing
from keras_unet3d.geometry import Box
from keras_unet3d.places import Place, Url, place
from keras_unet3d.volumes.czi import open_czi
from keras_unet3d.volumes.dicom import create_dicom_seg, open_dicom
from keras_unet3d.volumes.dicom_series import is_dicom, open_dicom_series
from keras_unet3d.volumes.hdf5 import create_hdf5, open_hdf5
from keras_unet3d.volumes.itk import create_itk, open_itk
from keras_unet3d.volumes.lif import open_lif
from keras_unet3d.volumes.mrc import create_mrc, open_mrc
from keras_unet3d.volumes.n5 import open_n5, open_n5_inside
from keras_unet3d.volumes.nd2 import open_nd2
from keras_unet3d.volumes.nifti import create_nifti, open_nifti
from keras_unet3d.volumes.sequence import CODECS, open_sequence
from keras_unet3d.volumes.tiff import create_tiff, open_tiff
from keras_unet3d.volumes.volume import NewVolume, Volume
from keras_unet3d.volumes.zarr import create_zarr, open_zarr, open_zarr_inside, refuse_existing_zarr


@dataclass(frozen=True, kw_only=True)
class Format:
    """How volumes of a format are opened and written.

    Attributes:
        open: path, name in the file, order of axes -> volume; with scenes also which scene, and which point in time.
        create: path, what is to be written -> within it, a function that writes boxes of it; None where it is only read.
        result: suffix of what is made of such a volume where nobody says another; "" for its own.
        open_inside: as `open`, for the volume of that very name; None for formats of one volume per file.
        has_scenes: whether a file may hold several scenes and points in time.
        is_folder: whether a volume is a folder, not a file.
        refuse_existing: path, whether it may be replaced, what to call it -> an error, unless it can be written.
    """

    open: Callable[..., Volume]
    create: Callable[[Any, NewVolume], AbstractContextManager[Callable[[Box, np.ndarray], None]]] | None = None
    result: str = ""
    open_inside: Callable[[Any, str, str | None], Volume] | None = None
    has_scenes: bool = False
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


_HDF5 = Format(open=open_hdf5, create=create_hdf5, open_inside=open_hdf5)
_NIFTI = Format(open=open_nifti, create=create_nifti)
_TIFF = Format(open=open_tiff, create=create_tiff, has_scenes=True)
_ITK = Format(open=open_itk, create=create_itk)
_MRC = Format(open=open_mrc, create=create_mrc)

FORMATS: dict[str, Format] = {
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".zarr": Format(
        open=open_zarr,
        create=create_zarr,
        open_inside=open_zarr_inside,
        is_folder=True,
        refuse_existing=refuse_existing_zarr,
    ),
    ".n5": Format(open=open_n5, open_inside=open_n5_inside, result=".zarr", is_folder=True),
    ".dcm": Format(open=open_dicom, create=create_dicom_seg, result=".nii.gz"),
    ".nrrd": _ITK,
    ".mha": _ITK,
    # Their voxels are in another file beside them; ours stay together.
    ".nhdr": Format(open=open_itk, result=".nrrd"),
    ".mhd": Format(open=open_itk, result=".mha"),
    ".mrc": _MRC,
    ".rec": _MRC,
    ".map": _MRC,
    ".czi": Format(open=open_czi, result=".tif", has_scenes=True),
    ".lif": Format(open=open_lif, result=".tif", has_scenes=True),
    ".nd2": Format(open=open_nd2, result=".tif", has_scenes=True),
}
# Suffix of the files in a folder that is one volume, a file per slice, and has no suffix of its own.
SLICES: dict[str, Format] = {
    ".dcm": Format(open=open_dicom_series, result=".nii.gz", is_folder=True),
    **dict.fromkeys(CODECS, Format(open=open_sequence, result=".tif", is_folder=True)),
}
# Suffixes of formats that can be written.
WRITTEN = tuple(suffix for suffix, kind in FORMATS.items() if kind.create)
# Suffixes of formats that hold several volumes by name: image, labels and weights in one.
SEVERAL = tuple(suffix for suffix, kind in FORMATS.items() if kind.open_inside)
# "stack.h5:/volumes/raw" is a volume in a file.
_INSIDE = re.compile(rf"(.+(?:{'|'.join(map(re.escape, SEVERAL))})):/*(.+)", re.IGNORECASE)


def file_and_key(path: str | Place) -> tuple[Place, str | None]:
    """Return the file, and the name of the volume in it where the path has one, as "stack.h5:/volumes/raw" has."""
    file = place(path)
    inside = _INSIDE.fullmatch(str(path)) if isinstance(file, Path) else None
    return (Path(inside[1]), inside[2]) if inside else (file, None)


def is_volume_name(path: Place) -> bool:
    """Return whether `path` ends as volumes do."""
    return path.name.lower().endswith(tuple(FORMATS))


def volume_format(path: Place) -> str:
    """Return the suffix in `FORMATS` that `path` ends with; raises `InputError` for any other."""
    return _suffix(path) or _refuse_unknown(path)


def format_of(path: Place) -> Format:
    """Return the format of a volume; raises `InputError` where `path` has none.

    What a folder without a suffix is, the files in it say.
    """
    path, _ = file_and_key(path)
    suffix = _suffix(path)
    if isinstance(path, Url) and suffix not in ("", ".zarr"):
        raise InputError(
            f"{path}: expected Zarr at a URL, a folder ending in .zarr, found {suffix}; copy the file to a disk, or save it as "
            "Zarr."
        )
    if suffix:
        return FORMATS[suffix]
    of_slices = _suffix_of_slices(path) if isinstance(path, Path) else ""
    return SLICES[of_slices or _refuse_unknown(path)]


def stem(path: Place) -> str:
    """Return the file name without the format's suffix; the name of a folder of slices."""
    format_of(path)
    path, _ = file_and_key(path)
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.resolve().name


def result_suffix(path: Place) -> str:
    """Return the suffix of what is made of a volume where nobody says another."""
    return format_of(path).result or volume_format(file_and_key(path)[0])


def _suffix(path: Place) -> str:
    endings = (suffix for suffix in sorted(FORMATS, key=len, reverse=True) if path.name.lower().endswith(suffix))
    return next(endings, "")


def _suffix_of_slices(folder: Path) -> str:
    files = sorted(file for file in folder.glob("[!.]*") if file.is_file())
    suffixes = Counter(file.suffix.lower() for file in files)
    common = max(suffixes, key=suffixes.__getitem__, default="")
    if common in SLICES:
        return common
    # Slices of DICOM may be called anything.
    return ".dcm" if files and is_dicom(files[0]) else ""


def _refuse_unknown(path: Place) -> str:
    raise InputError(
        f"{path}: expected a volume file ending in {', '.join(FORMATS)}, or a folder of slices ending in {', '.join(SLICES)}; "
        f"found {path.suffix or 'no suffix'}."
    )
