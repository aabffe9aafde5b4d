"""HDF5: one data set per volume, read by chunks; voxel size in the attribute `element_size_um` (z, y, x)."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.axes import (
    from_order,
    in_order,
    order_of,
    own_axes,
    place_in_order,
    plain_order,
    shape_in_order,
)
from keras_unet3d.volumes.reading import MOST_SPARSE, missing_key, refuse_elsewhere, refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, checked_spacing

_CHUNK, _CACHE, _SLOTS = 64, 2**26, 20011


def open_hdf5(path: Path, key: str | None, axes: str | None) -> Volume:
    import h5py

    key = key or "raw"
    with h5py.File(path, "r") as file:
        dataset = _dataset(path, file, key)
        shape, dtype = dataset.shape or (), dataset.dtype
        sizes = [holding.stat().st_size for holding in _files(path, dataset)]
        size = dataset.attrs.get("element_size_um")
        axes = axes or own_axes(dataset.attrs.get("axes"))
    refuse_non_numbers(f"{path}:{key}", dtype)
    order = order_of(f"{path}:{key}", shape, axes, "zyx")
    refuse_hollow(f"{path}:{key}", prod(shape) * dtype.itemsize, sizes, MOST_SPARSE)

    def read(index: Box) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file[key][index]

    zyx, channels, read_box = in_order(order, shape, read)
    spacing, unit = (None, None) if size is None else (checked_spacing(path, size), "um")
    return Volume(f"{path}:{key}", zyx, channels, dtype, read_box, spacing, unit, path, {"order": order})


def _dataset(path: Path, file: Any, key: str) -> Any:
    """Return the data set `key` of an open file."""
    import h5py

    link = file.get(key, getlink=True)
    if isinstance(link, h5py.SoftLink | h5py.ExternalLink) and file.get(key) is None:
        target = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else link.path
        raise InputError(
            f"{path}: expected a data set {key!r}, found a link to {target}, which leads nowhere; "
            "put back what it names, or name another data set."
        )
    if key not in file or not isinstance(file[key], h5py.Dataset):
        raise missing_key(path, key, _names(file), key in file)
    return file[key]


def _files(path: Path, dataset: Any) -> set[Path]:
    """Return the files that hold the voxels: HDF5 may take them from others, and would fill in what is missing there."""
    import h5py

    own = Path(dataset.file.filename).resolve()
    if dataset.external:
        raise InputError(
            f"{path}: expected the voxels within the file, found them in {dataset.external[0][0]}; save them within it."
        )
    files = {own}
    sources = (
        {(source.file_name, source.dset_name) for source in dataset.virtual_sources()} if dataset.is_virtual else ()
    )
    for name, key in sorted(sources):
        source = own if name == "." else own.parent.joinpath(name).resolve()
        refuse_elsewhere(path, source)
        if not source.is_file():
            raise InputError(
                f"{path}: expected the file {source}, which holds a part of the voxels, found no such file; copy it there."
            )
        with h5py.File(source, "r") as opened:
            if not isinstance(opened.get(key), h5py.Dataset):
                raise InputError(
                    f"{path}: expected the data set {key!r} in {source}, which holds a part of the voxels, found none of "
                    "that name; copy that file again from its source."
                )
            files |= _files(path, opened[key])
    refuse_elsewhere(path, own)
    return files


def _names(file: Any) -> list[str]:
    """Return the names of all data sets in an open HDF5 file."""
    import h5py

    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


@contextmanager
def create_hdf5(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    import h5py

    order = plain_order(new.like, new.channels)
    shape = shape_in_order(new.shape, new.channels, order)
    # Boxes seldom match chunks: those that are not full yet wait in memory, and full ones leave it first.
    with _target(path) as target, h5py.File(target, "w", rdcc_nbytes=_CACHE, rdcc_nslots=_SLOTS, rdcc_w0=1.0) as file:
        chunks = tuple(size if axis == "c" else min(_CHUNK, size) for axis, size in zip(order, shape, strict=True))
        dataset = file.create_dataset(
            new.key, shape=shape, dtype=new.dtype, chunks=chunks, compression="gzip", compression_opts=4
        )
        dataset.attrs["axes"] = order
        if new.like.spacing:
            dataset.attrs["element_size_um"] = np.multiply(new.like.spacing, MICROMETRES.get(new.like.unit, 1))

        def write(box: Box, array: np.ndarray) -> None:
            dataset[place_in_order(box, new.shape, order)] = from_order(array, order)

        yield write


@contextmanager
def _target(path: Path) -> Iterator["_Target"]:
    """Yield a file for HDF5 to write to; raises what went wrong in it once HDF5 is done."""
    with _Target(path, "w+b") as target:
        try:
            yield target
        finally:
            if target.failure:
                raise target.failure


class _Target(io.FileIO):
    """A file that seems to take everything, and remembers the first failure.

    HDF5 can neither go on nor close after a write that failed, and kills the process at its end.
    """

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        while left and not self.failure:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0
