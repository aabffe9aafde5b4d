"""N5: a group of data sets as in HDF5, read by chunks. Its first axis runs fastest, x by custom."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.geometry import Box, Spacing
from keras_unet3d.volumes.axes import in_order, order_of
from keras_unet3d.volumes.reading import MOST_SPARSE, missing_key, package, refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.volume import MICROMETRES, Volume, checked_spacing

_MARK = "attributes.json"
# The full resolution of a pyramid.
_FULL = "s0"


def open_n5(path: Path, key: str | None, axes: str | None) -> Volume:
    """Open the data set `key`; where nobody chose one, the only image that there is."""
    return _volume(path, key or "raw", axes, fallback=key in (None, "raw", "label", "weight"))


def open_n5_inside(path: Path, key: str, axes: str | None) -> Volume:
    """Open the data set of that very name: an image must not be taken for its own labels."""
    return _volume(path, key, axes, fallback=False)


def _volume(path: Path, key: str, axes: str | None, fallback: bool) -> Volume:
    tensorstore = package(path, "tensorstore", "n5")
    key = _full_name(path, key, fallback)
    folder = path / key
    place = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"}, "open": True}
    array = tensorstore.open(place, read=True).result()
    name, shape, dtype = f"{path}:{key}", tuple(array.shape), array.dtype.numpy_dtype
    refuse_non_numbers(name, dtype)
    sizes = (file.stat().st_size for file in folder.rglob("*") if file.is_file())
    refuse_hollow(name, prod(shape) * dtype.itemsize, sizes, MOST_SPARSE)
    order = order_of(name, shape, axes, "xyz")

    def read(index: Box) -> np.ndarray:
        # Chunks that are missing are zeros, which would train and predict without a word where the folder went away.
        if not folder.is_dir():
            raise InputError(f"{name}: expected a readable .n5 volume, found no such folder any more; check the path.")
        return np.asarray(tensorstore.open(place, read=True).result()[index].read().result())

    zyx, channels, read_box = in_order(order, shape, read)
    spacing, unit = _spacing(name, path, key)
    return Volume(name, zyx, channels, dtype, read_box, spacing, unit, path, {"order": order})


def _full_name(path: Path, key: str, fallback: bool) -> str:
    """Return the data set that is meant by a name: itself, or the full resolution of a pyramid."""
    names = list(_names(path))
    tops = [name for name in names if Path(name).name == _FULL or not _is_level(name)]
    for name in (key, f"{key}/{_FULL}"):
        if name in names:
            return name
    if fallback and len(tops) == 1:
        return tops[0]
    raise missing_key(path, key, names, (path / key).is_dir())


def _is_level(name: str) -> bool:
    level = Path(name).name
    return level[:1] == "s" and level[1:].isdecimal()


def _names(path: Path, above: str = "") -> Iterator[str]:
    """Yield the names of all data sets; folders of chunks, which may be millions, are not looked into."""
    for folder in sorted((path / above).iterdir()):
        if (folder / _MARK).is_file() and "dimensions" in read_json(folder / _MARK, "the attributes of N5"):
            yield f"{above}{folder.name}"
        elif folder.is_dir():
            yield from _names(path, f"{above}{folder.name}/")


def _spacing(name: str, path: Path, key: str) -> tuple[Spacing | None, str | None]:
    """Return the voxel size (z, y, x) and its unit, as the data set or the pyramid that it is of says."""
    own = path / key
    # What a pyramid says, it says of its full resolution.
    for folder in (own, own.parent) if own.name == _FULL else (own,):
        attributes: dict[str, Any] = (
            read_json(folder / _MARK, "the attributes of N5") if (folder / _MARK).is_file() else {}
        )
        said = attributes.get("pixelResolution", attributes.get("resolution"))
        size = said.get("dimensions") if isinstance(said, dict) else said
        unit = said.get("unit") if isinstance(said, dict) else attributes.get("units")
        unit = unit[0] if isinstance(unit, list) and unit else unit
        if isinstance(size, list):
            return checked_spacing(name, size[:3][::-1]), unit if unit in MICROMETRES else None
    return None, None
