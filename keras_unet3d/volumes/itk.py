"""NRRD and MetaImage, as ITK reads and writes them: turned to the closest RAS+ orientation, like NIfTI."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import opened
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.axes import from_order, in_order, order_of, place_in_order, shape_in_order
from keras_unet3d.volumes.orientation import LPS, spacing_of, turned, written_affine, written_order
from keras_unet3d.volumes.reading import package, refuse_elsewhere, refuse_hollow
from keras_unet3d.volumes.scratch import scratch
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, checked_spacing, common_type

# Headers are text, and seldom longer.
_HEADER = 2**16
# The files that a header names, and whether it says that they are compressed.
_NAMED = re.compile(rb"^(?:ElementDataFile\s*[=:]|data ?file:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_COMPRESSED = re.compile(rb"^(?:CompressedData *= *True|encoding: *(?:gz|bz))", re.MULTILINE | re.IGNORECASE)
_MOST_PACKED = 2**16


def open_itk(path: Path, key: str | None, axes: str | None) -> Volume:
    sitk = package(path, "SimpleITK", "itk")
    with opened(path, "a volume") as file:
        header = file.read(_HEADER)
    files, compressed = [path, *_data_files(path, header)], bool(_COMPRESSED.search(header))
    reader = _reader(sitk, path)
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) != 3:
        raise InputError(
            f"{path}: expected a volume of three axes, and perhaps channels, found {len(size)} axes {size}; save one volume."
        )
    dtype = _dtype(path, sitk, reader)
    declared = prod(size) * channels * dtype.itemsize
    refuse_hollow(path, declared, [one.stat().st_size for one in files], _MOST_PACKED if compressed else 1)
    layout = turned(path, LPS @ _affine(reader), size)
    spatial = layout["turned"][::-1]
    told = spatial + "c" * (channels > 1 if axes is None else "c" in axes)
    order = order_of(path, (*size[::-1], channels)[: 3 + (channels > 1)], told, spatial)

    def read(index: Box) -> np.ndarray:
        spatial, others = index[:3][::-1], index[3:]
        part = _reader(sitk, path)
        part.SetExtractIndex([axis.start for axis in spatial])
        part.SetExtractSize([axis.stop - axis.start for axis in spatial])
        return sitk.GetArrayFromImage(part.Execute())[(..., *others)]

    shape = (*size[::-1], channels)[: len(order)]
    zyx, channels, read_box = in_order(order, shape, read, layout["flipped"])
    spacing = checked_spacing(path, spacing_of(layout["affine"]))
    # ITK reads crops of plain MetaImage alone.
    packed = compressed or path.suffix.lower() in (".nrrd", ".nhdr")
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, "mm", path, layout, packed)


def _reader(sitk: Any, path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _data_files(path: Path, header: bytes) -> Iterator[Path]:
    """Yield the files that hold the voxels where these are not in the file of the header."""
    names = [name.decode(errors="replace") for name in _NAMED.findall(header)]
    # MetaImage always says where its voxels are; the header of NRRD ends in an empty line, or with the file.
    whole = len(header) < _HEADER or re.search(rb"\n\r?\n", header)
    if not (whole if header.startswith(b"NRRD") else names):
        raise InputError(
            f"{path}: expected a readable {path.suffix} volume, found a broken or truncated file, or one of another kind."
        )
    for name in names:
        if name.upper() == "LOCAL":
            continue
        if name.upper().startswith("LIST") or "%" in name:
            raise InputError(
                f"{path}: expected voxels in one file, found a list of files; save the volume as one file."
            )
        file = path.parent / name
        refuse_elsewhere(path, file)
        if not file.is_file():
            raise InputError(f"{path}: expected its voxels in {file}, found no such file; copy it there.")
        yield file


def _dtype(path: Path, sitk: Any, reader: Any) -> np.dtype:
    # "vector of 32-bit float", "16-bit unsigned integer", "complex of 64-bit float"
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    parts = re.fullmatch(r"(?:vector of )?(\d+)-bit (unsigned|signed|float).*", name)
    if not parts:
        raise InputError(f"{path}: expected numbers, found voxels of type {name}; save them as integers or floats.")
    return np.dtype(f"{ {'unsigned': 'u', 'signed': 'i', 'float': 'f'}[parts[2]] }{int(parts[1]) // 8}")


def _affine(image: Any) -> np.ndarray:
    """Return the affine from indices (x, y, z) to the space of ITK."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


@contextmanager
def create_itk(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    package(path, "SimpleITK", "itk")
    order, flipped = written_order(new.like)
    # The first axis runs fastest in the file: it is the last one of the scratch array; channels run faster still.
    backwards = order[::-1] + "c" * (new.channels is not None)
    with scratch(path, shape_in_order(new.shape, new.channels, backwards), new.dtype) as data:

        def write(box: Box, array: np.ndarray) -> None:
            data("r+")[place_in_order(box, new.shape, backwards, flipped)] = from_order(array, backwards, flipped)

        yield write
        _save(path, data("r"), new)


def _save(path: Path, data: np.ndarray, new: NewVolume) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(data.astype(common_type(data), copy=False), isVector=new.channels is not None)
    # These formats are in millimetres.
    affine = LPS @ written_affine(new.like)
    affine[:3] *= MICROMETRES.get(new.like.unit, 1e3) / 1e3
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
