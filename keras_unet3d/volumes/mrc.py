"""MRC of electron microscopy (.mrc, .rec, .map): memory-mapped; voxel size in angstrom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, triple
from keras_unet3d.volumes.axes import from_order, in_order, order_of, place_in_order, plain_order, shape_in_order
from keras_unet3d.volumes.reading import package, refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.scratch import scratch
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, checked_spacing

# Fields of the header that say where in space the volume begins.
_PLACE = ("origin", "nxstart", "nystart", "nzstart")
_HEADER = 1024


def open_mrc(path: Path, key: str | None, axes: str | None) -> Volume:
    mrcfile = package(path, "mrcfile", "mrc")
    with mrcfile.open(path, header_only=True) as file:
        header = file.header
        dtype, shape = mrcfile.utils.data_dtype_from_header(header), mrcfile.utils.data_shape_from_header(header)
        offset = _HEADER + int(header.nsymbt)
        refuse_non_numbers(path, dtype)
        refuse_hollow(path, offset + int(np.prod(shape)) * dtype.itemsize, [path.stat().st_size])
        # Which of x, y, z columns, rows and sections are.
        letters = "".join(".xyz"[int(axis)] for axis in (header.maps, header.mapr, header.mapc))
        order = order_of(path, shape, axes, letters if set(letters) == set("zyx") else "zyx")
        size = [float(file.voxel_size[axis]) for axis in "zyx"]
        place = {name: header[name].copy() for name in _PLACE}

    def read(index: Box) -> np.ndarray:
        # Mapped for every crop: what was read of a map that stays counts as memory of this process.
        with mrcfile.mmap(path, mode="r", permissive=False) as mapped:
            return np.array(mapped.data[index])

    zyx, channels, read_box = in_order(order, shape, read)
    # Zeros mean that nobody knows.
    spacing, unit = (checked_spacing(path, size), "angstrom") if all(size) else (None, None)
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, unit, path, {"order": order, "mrc": place})


@contextmanager
def create_mrc(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    mrcfile = package(path, "mrcfile", "mrc")
    if new.channels is not None:
        raise InputError(
            f"MRC: expected one channel, which is all that it holds, found {new.channels}; write .h5 or .tif."
        )
    order = plain_order(new.like, None)
    with scratch(path, shape_in_order(new.shape, None, order), new.dtype) as data:

        def write(box: Box, array: np.ndarray) -> None:
            data("r+")[place_in_order(box, new.shape, order)] = from_order(array, order)

        yield write
        array = _writable(data("r"))
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data(array)
            _describe(file, order, new.like)


def _describe(file: Any, order: str, like: Volume) -> None:
    file.set_volume()
    file.header.maps, file.header.mapr, file.header.mapc = ("xyz".index(axis) + 1 for axis in order)
    if like.micrometres:
        z, y, x = (size / MICROMETRES["angstrom"] for size in like.micrometres)
        file.voxel_size = triple((x, y, z))
    for name, value in like.layout.get("mrc", {}).items():
        file.header[name] = value


def _writable(array: np.ndarray) -> np.ndarray:
    """Return voxels in a type that MRC has: 8 and 16 bits, float32, float16; raises `InputError` where none holds them."""
    if array.dtype.name in ("int8", "int16", "uint16", "float32", "float16"):
        return array
    # Numbers of 8 bits have a sign in MRC.
    kinds = ("int16", "uint16", "float32") if array.dtype.kind in "uib" else ("float32",)
    for kind in kinds:
        wider = array.astype(kind)
        if array.dtype.kind == "f" or (wider == array).all():
            return wider
    raise InputError(f"MRC: expected labels that it can hold, up to {2**24}, found {array.max()}; write .h5 or .tif.")
