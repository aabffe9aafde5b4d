"""NIfTI: turned to the closest RAS+ orientation when read, and back when written."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.files import opened
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.axes import from_order, in_order, order_of, place_in_order, shape_in_order
from keras_unet3d.volumes.orientation import turned, written_affine, written_order
from keras_unet3d.volumes.reading import refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.scratch import scratch
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, checked_spacing, common_type

# Bytes that one byte of gzip can stand for: 1032, and a little for what surrounds them.
_MOST_PACKED = 1100
_PIECE = 2**22


def open_nifti(path: Path, key: str | None, axes: str | None) -> Volume:
    import nibabel

    # nibabel's types leave out what all its images of volumes have: an affine, a shape, voxels.
    image: Any = nibabel.load(path)
    refuse_non_numbers(path, image.get_data_dtype())
    layout = turned(path, image.affine, image.shape)
    spatial, flipped = layout["turned"], layout["flipped"]
    shape = image.shape
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if axes is not None:
        axes = spatial + "c" * ("c" in axes)
    if len(shape) == 4 and shape[3] == 1:
        axes = spatial + "c"
    order = order_of(path, shape, axes, spatial)
    declared = prod(image.shape) * image.get_data_dtype().itemsize
    refuse_hollow(
        path,
        image.dataobj.offset + declared,
        [path.stat().st_size],
        _MOST_PACKED if path.suffix.lower() == ".gz" else 1,
    )
    extra, packed = (0,) * (len(image.shape) - len(shape)), path.suffix.lower() == ".gz"

    @cache
    def checked() -> None:
        # Its checksum stands at the end, where nibabel does not read; a damaged file would train and predict without a word.
        with opened(path, "a volume") as file, gzip.GzipFile(fileobj=file) as unpacked:
            while unpacked.read(_PIECE):
                pass

    def read(index: Box) -> np.ndarray:
        if packed:
            checked()
        return np.asarray(image.dataobj[index + extra])

    zyx, channels, read_box = in_order(order, shape, read, flipped)
    zooms = dict(zip(spatial, image.header.get_zooms()[:3], strict=True))
    spacing = checked_spacing(path, [zooms[axis] for axis in "zyx"])
    unit = image.header.get_xyzt_units()[0]
    dtype = np.dtype(np.float64) if image.dataobj.slope != 1 or image.dataobj.inter else image.get_data_dtype()
    unit = "mm" if unit == "unknown" else unit
    layout["nifti"] = image
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, unit, path, layout, packed)


@contextmanager
def create_nifti(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    order, flipped = written_order(new.like)
    order += "c" * (new.channels is not None)
    # The first axis runs fastest in the file: it is the last one of the scratch array.
    backwards = order[::-1]
    # NIfTI has no half floats.
    dtype = np.dtype(np.float32) if new.dtype == np.float16 else new.dtype
    with scratch(path, shape_in_order(new.shape, new.channels, backwards), dtype) as data:

        def write(box: Box, array: np.ndarray) -> None:
            data("r+")[place_in_order(box, new.shape, backwards, flipped)] = from_order(array, backwards, flipped)

        yield write
        _save(path, data("r").T, new.like)


# Units of volumes as NIfTI spells them.
_UNITS = {"um": "micron", "micron": "micron", "mm": "mm", "meter": "meter", None: "mm"}


def _save(path: Path, data: np.ndarray, like: Volume) -> None:
    import nibabel

    source = like.layout.get("nifti")
    unit, dtype = _UNITS.get(like.unit), common_type(data)
    if source is None:
        affine = written_affine(like)
        # A unit that NIfTI does not have would be read as millimetres again.
        if not unit and like.micrometres:
            affine[:3] *= MICROMETRES[like.unit]
        unit = unit or ("micron" if like.micrometres else "unknown")
        image = nibabel.Nifti1Image(data, affine, dtype=dtype)
    else:
        kind = type(source) if _is_nifti(source) else nibabel.Nifti1Image
        image = kind(data, source.affine, dtype=dtype)
        if _is_nifti(source):
            # The codes say what space the affine maps to; viewers and tools decide by them.
            image.set_qform(source.get_qform(), int(source.header["qform_code"]))
            image.set_sform(source.get_sform(), int(source.header["sform_code"]))
    image.header.set_xyzt_units(unit or "unknown")
    nibabel.save(image, path)


def _is_nifti(image: Any) -> bool:
    import nibabel

    return isinstance(image, nibabel.Nifti1Image)
