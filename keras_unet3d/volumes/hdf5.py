"""HDF5: one data set per volume, read by chunks; voxel size in the attribute `element_size_um` (z, y, x)."""

from pathlib import Path

import numpy as np

from keras_unet3d.volumes.axes import from_order, in_order, order_of, plain_order
from keras_unet3d.volumes.reading import missing_key, readable, refuse_non_numbers
from keras_unet3d.volumes.volume import MICROMETRES, Volume, checked_spacing


def open_hdf5(path: Path, key: str | None, axes: str | None) -> Volume:
    import h5py

    key = key or "raw"
    with h5py.File(path, "r") as file:
        if key not in file or not isinstance(file[key], h5py.Dataset):
            found = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            raise missing_key(path, key, found, key in file)
        dataset = file[key]
        shape, dtype = dataset.shape, dataset.dtype
        spacing = dataset.attrs.get("element_size_um")
        axes = axes or _axes_attribute(dataset)
    refuse_non_numbers(f"{path}:{key}", dtype)
    order = order_of(f"{path}:{key}", shape, axes, "zyx")

    def read(index):
        with readable(path), h5py.File(path, "r") as file:
            return file[key][index]

    zyx, channels, read_box = in_order(order, shape, read)
    unit = None if spacing is None else "um"
    spacing = checked_spacing(path, spacing)
    return Volume(f"{path}:{key}", zyx, channels, dtype, read_box, spacing, unit, path, {"order": order})


def _axes_attribute(dataset) -> str | None:
    # What this package writes itself says its order.
    axes = dataset.attrs.get("axes")
    return axes if isinstance(axes, str) and set(axes) in (set("zyx"), set("zyxc")) else None


def write_hdf5(path: Path, array: np.ndarray, like: Volume, key: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        order = plain_order(array, like)
        data = from_order(array, order)
        dataset = file.create_dataset(key, data=data, chunks=True, compression="gzip", compression_opts=4)
        dataset.attrs["axes"] = order
        if like.spacing:
            dataset.attrs["element_size_um"] = np.multiply(like.spacing, MICROMETRES.get(like.unit, 1))
