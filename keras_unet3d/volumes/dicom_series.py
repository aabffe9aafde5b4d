"""DICOM series: a folder of slices, a file each, in the order of their positions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import opened
from keras_unet3d.volumes.axes import in_order, order_of
from keras_unet3d.volumes.orientation import LPS, spacing_of, turned
from keras_unet3d.volumes.reading import by_planes, package, readable, refuse_hollow
from keras_unet3d.volumes.volume import Volume, checked_spacing
from keras_unet3d.words import by, plural, some

# Where a DICOM file says that it is one.
_MARK, _PLACE = b"DICM", 128
# The share of the distance of slices by which one may be off its place, and the sine of the angle that they may be sheared by.
_OFF_PLACE, _SHEARED = 0.1, 0.01
# Bytes of pixels that one byte of a compressed slice may stand for.
_MOST_PACKED = 2**14


def is_dicom(path: Path) -> bool:
    """Return whether a file says of itself that it is DICOM."""
    with opened(path, "a file") as file:
        file.seek(_PLACE)
        return file.read(len(_MARK)) == _MARK


def open_dicom_series(path: Path, key: str | None, axes: str | None) -> Volume:
    pydicom = package(path, "pydicom", "dicom")
    slices = sorted_slices(path)
    files, first = [Path(one.filename) for one in slices], slices[0]
    rescaled = any(map(_is_rescaled, slices))
    stored = np.dtype(f"{'ui'[first.PixelRepresentation]}{first.BitsAllocated // 8}")
    dtype = np.dtype(np.float32) if rescaled else stored
    shape = (len(slices), int(first.Rows), int(first.Columns))
    affine = LPS @ _affine(path, slices)
    layout = turned(path, affine, shape[::-1]) | {"dicom": path}
    spatial = layout["turned"][::-1]
    order = order_of(path, shape, axes and spatial + "c" * ("c" in axes), spatial)

    def plane(number: int) -> np.ndarray:
        with readable(files[number]):
            dataset = pydicom.dcmread(files[number])
            return pydicom.pixels.apply_rescale(dataset.pixel_array, dataset).astype(dtype)

    zyx, channels, read = in_order(order, shape, by_planes(shape, plane), layout["flipped"])
    spacing = checked_spacing(path, spacing_of(layout["affine"]))
    # A crop would decode every slice that it touches.
    return Volume(str(path), zyx, channels, dtype, read, spacing, "mm", path, layout, packed=True)


def _is_rescaled(header: Any) -> bool:
    line = (float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0))
    return line != (1, 0) or "ModalityLUTSequence" in header


def sorted_slices(folder: Path) -> list[Any]:
    """Return the headers of the one series in a folder, from the first position to the last.

    Raises:
        InputError: several series, slices that do not fit together, or that cannot be decoded.
    """
    pydicom = package(folder, "pydicom", "dicom")
    headers = []
    for file in _files(folder):
        with readable(file):
            header = pydicom.dcmread(file, stop_before_pixels=True)
        if "SeriesInstanceUID" not in header:
            raise InputError(f"{file}: expected a slice of a series, found a broken or truncated file; copy it again.")
        headers.append(header)
    if not headers:
        raise InputError(f"{folder}: expected slices of a DICOM series, found none; give the folder that holds them.")
    _refuse_several(folder, headers)
    for header in headers:
        _refuse_unlike(header, headers[0])
    normal = np.cross(*_directions(headers[0]))
    return sorted(headers, key=lambda header: float(normal @ np.array(header.ImagePositionPatient, float)))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files of a folder; what else lies there by another suffix is somebody's note."""
    for file in sorted(folder.glob("[!.]*")):
        if file.is_file() and file.name != "DICOMDIR":
            if is_dicom(file):
                yield file
            elif file.suffix.lower() == ".dcm":
                raise InputError(
                    f"{file}: expected a readable .dcm slice, found a broken or truncated file; copy it again."
                )


def _refuse_several(folder: Path, headers: Sequence[Any]) -> None:
    series = Counter((header.get("SeriesInstanceUID"), header.get("SeriesDescription")) for header in headers)
    if len(series) > 1:
        shown = some([f"{name or 'without a name'} ({plural(count, 'file')})" for (_, name), count in series.items()])
        raise InputError(
            f"{folder}: expected one DICOM series, found {len(series)}: {shown}; move each to a folder of its own."
        )


def _refuse_unlike(header: Any, first: Any) -> None:
    """Raise `InputError` where a slice is no grey-value image with a place, or not like the first of its series."""
    lacking = [
        name
        for name in ("Rows", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        if name not in header
    ]
    if lacking:
        raise InputError(
            f"{header.filename}: expected a slice that says where it lies, found none of {some(lacking)}; leave out what is no "
            "slice, and convert what has no position by another program."
        )
    if header.SamplesPerPixel != 1 or header.get("NumberOfFrames", 1) not in (None, 1):
        raise InputError(
            f"{header.filename}: expected one slice of grey values, found {header.SamplesPerPixel} channels and "
            f"{header.get('NumberOfFrames', 1)} frames; give a file of many frames itself, and colours as another format."
        )
    sizes = [(int(one.Rows), int(one.Columns)) for one in (header, first)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{header.filename}: expected {by(sizes[1])} pixels like {Path(first.filename).name}, found {by(sizes[0])}; move what "
            "does not belong to the volume elsewhere."
        )
    for name in ("ImageOrientationPatient", "PixelSpacing"):
        own, expected = (np.array(one.get(name), float) for one in (header, first))
        if not np.allclose(own, expected, rtol=1e-3, atol=1e-3):
            raise InputError(
                f"{header.filename}: expected {name} {by(expected, 'g')} like {Path(first.filename).name}, found {by(own, 'g')}; "
                "move what does not belong to the volume elsewhere."
            )
    _refuse_undecodable(header)


def _refuse_undecodable(header: Any) -> None:
    import pydicom

    file, syntax = Path(header.filename), header.file_meta.TransferSyntaxUID
    declared = prod((int(header.Rows), int(header.Columns), int(header.BitsAllocated) // 8))
    refuse_hollow(file, declared, [file.stat().st_size], _MOST_PACKED if syntax.is_compressed else 1)
    if syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available:
        raise InputError(
            f"{file}: expected a compression that can be decoded here, found {syntax.name}; run pip install pylibjpeg "
            "pylibjpeg-libjpeg pylibjpeg-openjpeg, or decompress the series by dcmdjpeg or gdcmconv."
        )


def _directions(header: Any) -> np.ndarray:
    """Return the unit vectors along a row and along a column, (2, 3)."""
    return np.array(header.ImageOrientationPatient, float).reshape(2, 3)


def _affine(path: Path, slices: Sequence[Any]) -> np.ndarray:
    """Return the affine from (column, row, slice) to the space of DICOM, in millimetres."""
    first = slices[0]
    positions = np.array([one.ImagePositionPatient for one in slices], float)
    row, column = _directions(first)
    normal = np.cross(row, column)
    if len(slices) > 1:
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        _refuse_uneven(path, slices, (positions - positions[0]) @ normal)
        if np.linalg.norm(np.cross(step, normal)) > _SHEARED * np.linalg.norm(step):
            raise InputError(
                f"{path}: expected slices right above one another, found each moved sideways (a tilted gantry); resample the "
                "series first, e.g. with 3D Slicer."
            )
    else:
        step = normal * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    down, right = map(float, first.PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.stack([row * right, column * down, step, positions[0]], axis=1)
    return affine


def _refuse_uneven(path: Path, slices: Sequence[Any], heights: np.ndarray) -> None:
    """Raise `InputError` where sorted slices are not one at every place, at equal distances."""
    gaps = np.diff(heights)
    names = [Path(one.filename).name for one in slices]
    usual = float(np.median(gaps))
    if gaps.min() <= _OFF_PLACE * max(usual, gaps.max()):
        where = int(gaps.argmin())
        raise InputError(
            f"{path}: expected one slice at every position, found {names[where]} and {names[where + 1]} at the same; move other "
            "points in time, echoes and copies to folders of their own."
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() <= _OFF_PLACE * usual:
        return
    where, steps = int(gaps.argmax()), gaps / usual
    if np.abs(steps - steps.round()).max() <= _OFF_PLACE:
        raise InputError(
            f"{path}: expected a slice every {usual:g} mm, found {gaps[where]:g} mm between {names[where]} and "
            f"{names[where + 1]}: slices are missing; copy the series again from its source."
        )
    raise InputError(
        f"{path}: expected slices at equal distances, found {gaps.min():g} to {gaps.max():g} mm; resample the series first, "
        "e.g. with 3D Slicer."
    )
