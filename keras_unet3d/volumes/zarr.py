"""Zarr, formats 2 and 3: an array, or a group of arrays as in HDF5; read by chunks. `ome` knows what OME-Zarr says of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import refuse_existing_folder
from keras_unet3d.geometry import Box, Spacing
from keras_unet3d.places import Place, Url, reached
from keras_unet3d.volumes import ome
from keras_unet3d.volumes.axes import (
    from_order,
    in_order,
    letters,
    order_of,
    own_axes,
    place_in_order,
    plain_order,
    refuse_times,
    shape_in_order,
)
from keras_unet3d.volumes.reading import MOST_SPARSE, MissingKey, missing_key, refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.remote import MARKS, is_zarr, refuse_existing_at, store_at
from keras_unet3d.volumes.volume import NewVolume, Volume, checked_spacing

_FORMAT, _CHUNK = 3, 64


def open_zarr(path: Place, key: str | None, axes: str | None) -> Volume:
    """Open the array `key`; where there is none of that name, the image at full resolution that the group describes."""
    root = _root(path)
    # A name that somebody chose must exist; the usual names stand for whatever the folder holds.
    usual = key in (None, "raw", "label", "weight") or not _is_group(root)
    return _volume(path, root, key or "raw", axes, fallback=usual)


def open_zarr_inside(path: Place, key: str, axes: str | None) -> Volume:
    """Open the array of that very name: an image must not be taken for its own labels."""
    return _volume(path, _root(path), key, axes, fallback=False)


def _volume(path: Place, root: Any, key: str, axes: str | None, fallback: bool) -> Volume:
    array = _array(path, root, key, fallback)
    name = f"{path}:{array.path}" if array.path else str(path)
    _refuse_pickles(name, array)
    refuse_non_numbers(name, array.dtype)
    description = _described(root, array)
    order, kept = _order(name, array.shape, axes, description.axes)
    if isinstance(path, Path):
        # A store would have to list what may be millions of chunks.
        refuse_hollow(name, prod(array.shape) * array.dtype.itemsize, _sizes(path / array.path), MOST_SPARSE)
    place = {position: number for number, position in enumerate(kept)}

    def read(index: Box) -> np.ndarray:
        # Zarr fills missing chunks, which would train and predict without a word where the folder went away.
        if isinstance(path, Path) and not path.is_dir():
            raise InputError(
                f"{path}: expected a readable .zarr volume, found no such folder any more; check the path."
            )
        return array[tuple(index[place[axis]] if axis in place else 0 for axis in range(array.ndim))]

    zyx, channels, read_box = in_order(order, tuple(array.shape[position] for position in kept), read)
    spacing, unit = _spacing(name, array, description, [kept[order.index(axis)] for axis in "zyx"])
    layout = {"order": order, "zarr_format": array.metadata.zarr_format}
    return Volume(name, zyx, channels, array.dtype, read_box, spacing, unit, path, layout)


# ---- finding the array ---------------------------------------------------------------------------


def _root(path: Place) -> Any:
    """Return the Zarr group at `path`, or the array where there is no group."""
    zarr = _package(path)
    if not is_zarr(path):
        kind = "place" if isinstance(path, Url) else "folder"
        raise InputError(
            f"{path}: expected a Zarr volume, found a {kind} without {', '.join(MARKS[:-1])} or {MARKS[-1]}; "
            "check the path, or copy it again from its source."
        )
    node = zarr.open(_stored(path), mode="r")
    # Consolidated metadata may be older than the arrays; without it a local folder is as fast.
    return zarr.open_group(_stored(path), mode="r", use_consolidated=False) if _is_group(node) else node


def _stored(path: Place, read_only: bool = True) -> Any:
    """Return what the package zarr takes for a place."""
    return store_at(path, read_only) if isinstance(path, Url) else path


def _package(path: Place) -> Any:
    """Return the package zarr; raises `InputError` where it is missing, broken or too old for the volume at `path`."""
    try:
        import zarr
    except ImportError as error:
        installed = "none" if isinstance(error, ModuleNotFoundError) else f"one that does not load ({error})"
    else:
        if hasattr(zarr, "create_array"):
            return zarr
        installed = f"zarr {zarr.__version__}"
    raise InputError(
        f"{path}: expected the package zarr, 3.0.8 or newer, found {installed}; run pip install 'keras-unet3d[zarr]'."
    )


def _is_group(node: Any) -> bool:
    return hasattr(node, "members")


def _array(path: Place, root: Any, key: str, fallback: bool) -> Any:
    """Return the array `key`; with `fallback`, where there is none, the array or image that there is instead."""
    if not _is_group(root):
        if fallback:
            return root
        raise MissingKey(
            f"{path}: expected a group with an array {key!r}, found a single array; "
            "give images and labels that are apart by `images` and `labels`."
        )
    for name in (key, ome.full_resolution(root) if fallback else None):
        node = _member(path, root, name)
        if node is not None and _is_group(node):
            # An OME-Zarr image inside, as `labels/cells` is.
            node = _member(path, node, ome.full_resolution(node))
        if node is not None and not _is_group(node):
            return node
    raise missing_key(path, key, list(_names(path, root)), _member(path, root, key) is not None)


def _member(path: Place, root: Any, name: str | None) -> Any:
    """Return the array or group `name` within `root`, None where there is none."""
    try:
        return None if name is None else root[name]
    except KeyError:
        return None
    except Exception as error:
        raise InputError(
            f"{path}: expected a readable array {name!r}, found broken metadata; "
            "copy it again from its source, or name another one."
        ) from error


def _names(path: Place, root: Any, above: str = "") -> Iterator[str]:
    """Yield the names of all arrays; folders of chunks, which may be millions, are not looked into."""
    inside: list[Place] = [*(path / above).iterdir()]
    for folder in sorted(inside, key=lambda folder: folder.name):
        if is_zarr(folder):
            name = above + folder.name
            is_group = _is_group(_member(path, root, name))
            yield from _names(path, root, f"{name}/") if is_group else [name]


def _sizes(folder: Path | str) -> Iterator[int]:
    """Yield the bytes of every file; there may be millions of chunks, so nobody should ask for all."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sizes(entry.path)
            else:
                yield entry.stat().st_size


def _refuse_pickles(name: str, array: Any) -> None:
    # Unpickling runs whatever program the file holds. Object arrays are refused by their type; in format 2
    # any array may name the codec as a filter.
    codecs = [*(getattr(array.metadata, "filters", None) or ()), getattr(array.metadata, "compressor", None)]
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
        raise InputError(f"{name}: expected chunks of numbers, found pickled ones, which could run any program.")


# ---- what the attributes say ---------------------------------------------------------------------


def _described(root: Any, array: Any) -> ome.Description:
    description = ome.described(root, array)
    named = letters(getattr(array.metadata, "dimension_names", None) or ())
    return replace(description, axes=own_axes(array.attrs.get("axes")) or description.axes or named)


def _order(name: str, shape: tuple[int, ...], axes: str | None, declared: str | None) -> tuple[str, tuple[int, ...]]:
    """Return one letter per axis that is kept, and which of the array's axes those are.

    Times and channels of which there is one are dropped.
    """
    declared = declared or (ome.UNNAMED if len(shape) == len(ome.UNNAMED) else None)
    if declared is None or not _fits(declared, shape):
        return order_of(name, shape, axes, "zyx"), tuple(range(len(shape)))
    if axes is None:
        refuse_times(name, declared, shape)
    kept = tuple(position for position, axis in enumerate(declared) if axis not in "tc" or shape[position] > 1)
    left = "".join(declared[position] for position in kept)
    if axes is None and not set("zyx") <= set(left):
        raise InputError(
            f"{name}: expected a stack of planes, found axes {declared} of shape {shape}; "
            "if it is a stack, add `axes`, e.g. `axes=zyx`."
        )
    # The order that was told speaks of the whole array.
    wanted = "".join(axis for axis in axes or left if axis in left or axis not in declared)
    return order_of(name, tuple(shape[position] for position in kept), wanted, "zyx"), kept


def _fits(declared: str, shape: tuple[int, ...]) -> bool:
    known = set(declared) <= set(ome.UNNAMED)
    return known and len(set(declared)) == len(declared) == len(shape)


def _spacing(name: str, array: Any, description: ome.Description, zyx: list[int]) -> tuple[Spacing | None, str | None]:
    """Return the voxel size (z, y, x) and its unit; `zyx` is which of the array's axes z, y and x are."""
    own = array.attrs.get("element_size_um")
    return ome.spacing_of(name, description, zyx) if own is None else (checked_spacing(name, own), "um")


# ---- writing -------------------------------------------------------------------------------------


def refuse_existing_zarr(path: Place, overwrite: bool, what: str = "output") -> None:
    """Raise `InputError` if `path` may not be written; the only folders that may be replaced are Zarr."""
    _package(path)
    if isinstance(path, Url):
        refuse_existing_at(path, overwrite, what)
        return
    mark = next((mark for mark in MARKS if (path / mark).is_file()), MARKS[0])
    refuse_existing_folder(path, overwrite, what, (mark,))


@contextmanager
def create_zarr(path: Place, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    with reached(path):
        write = start_zarr(path, new)

    def put(box: Box, voxels: np.ndarray) -> None:
        with reached(path):
            write(box, voxels)

    yield put


def start_zarr(path: Place, new: NewVolume) -> Callable[[Box, np.ndarray], None]:
    """Make a group with the array `key`, described as an OME-Zarr image as well; return a function that writes boxes of it."""
    zarr = _package(path)
    order = _written_order(new)
    shape = shape_in_order(new.shape, new.channels, order)
    chunks = dict(zip("zyx", new.chunks or (_CHUNK,) * 3, strict=True))
    number = new.like.layout.get("zarr_format", _FORMAT)
    group = zarr.create_group(
        _stored(path, read_only=False),
        zarr_format=number,
        attributes=ome.group_attributes(new.key, order, new.like, number),
    )
    named = number > 2
    array = group.create_array(
        new.key,
        shape=shape,
        dtype=new.dtype,
        chunks=tuple(min(chunks.get(axis, 1), size) for axis, size in zip(order, shape, strict=True)),
        dimension_names=list(order) if named else None,
        chunk_key_encoding={"name": "default" if named else "v2", "separator": "/"},
    )
    array.attrs["axes"] = order
    if new.like.micrometres:
        array.attrs["element_size_um"] = list(new.like.micrometres)
    return _writer(array, new, order)


def continue_zarr(path: Place, new: NewVolume) -> Callable[[Box, np.ndarray], None]:
    """Return a function that writes boxes of a volume that `start_zarr` made, perhaps in another process.

    Boxes that are written at the same time must share no chunk.
    """
    group = _package(path).open_group(_stored(path, read_only=False), mode="r+", use_consolidated=False)
    return _writer(group[new.key], new, _written_order(new))


def _writer(array: Any, new: NewVolume, order: str) -> Callable[[Box, np.ndarray], None]:
    def write(box: Box, voxels: np.ndarray) -> None:
        array[place_in_order(box, new.shape, order)] = from_order(voxels, order)

    return write


def _written_order(new: NewVolume) -> str:
    # OME-Zarr wants the channels first.
    return "c" * (new.channels is not None) + plain_order(new.like, None)
