"""Our volumes as napari's layers, and its layers as our volumes; napari itself is not needed for that."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.datasets import DataKeys, open_partly_labelled
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES
from keras_unet3d.volumes import MissingKey, Volume, from_array, in_memory, is_volume_name, open_inside
from keras_unet3d.volumes.volume import MICROMETRES

# What napari makes a layer of: voxels, what `add_image` or `add_labels` is told, and which of the two.
Layer = tuple[np.ndarray, dict[str, Any], str]
# What a layer of ours remembers in its metadata: its `Volume`, and the `DataKeys` of the file.
_VOLUME, _KEYS = "keras-unet3d volume", "keras-unet3d keys"


def reader_of(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return what reads volumes for napari, whose manifest names this function; None where one of them is none."""
    return read if all(is_volume_name(one) for one in _paths(path)) else None


def read(path: str | Sequence[str]) -> list[Layer]:
    """Return the layers of volume files: the image, and the labels beside it in HDF5.

    Raises:
        InputError: a file that cannot be read.
    """
    return [layer for one in _paths(path) for layer in _read_one(one)]


def _read_one(path: Path) -> list[Layer]:
    try:
        return layers_of(*open_partly_labelled(path, DataKeys(), None), path.name)
    except MissingKey as missing:
        # A file of labels alone, as `predict` writes it.
        try:
            return [labels_layer(open_inside(path, DataKeys.label), path.name)]
        except InputError:
            raise missing from None


def layers_of(image: Volume, label: Volume | None, name: str, keys: DataKeys = DataKeys()) -> list[Layer]:
    """Return the layers of an image, one for every channel, and of its labels if it has any; all voxels are read."""
    image = in_memory(image)
    metadata = {_VOLUME: image, _KEYS: keys}
    names = [name] if image.channels == 1 else [f"{name} channel {number}" for number in range(image.channels)]
    voxels = image.array()
    layers: list[Layer] = [
        (voxels[..., number], placed(image, channel) | {"metadata": metadata}, "image")
        for number, channel in enumerate(names)
    ]
    return layers if label is None else [*layers, labels_layer(label, f"{name} labels")]


def labels_layer(label: Volume, name: str) -> Layer:
    """Return the layer of a label volume of one channel."""
    return label.array()[..., 0].astype(np.int64), placed(label, name), "labels"


def placed(volume: Volume, name: str) -> dict[str, Any]:
    """Return what a layer on the voxels of a volume is told: its name, its axes, its voxel size and the unit of that."""
    unit = (volume.spacing and volume.unit) or "pixel"
    return {
        "name": name,
        "axis_labels": tuple(AXES),
        "scale": volume.spacing or (1.0, 1.0, 1.0),
        "units": (unit,) * 3,
    }


def volume_of(layer: Any) -> tuple[Volume, DataKeys]:
    """Return the image of an image layer, and the keys of its file: ours as we read it, any other by its voxels.

    Raises:
        InputError: a layer that is no volume of three axes.
    """
    if _VOLUME in layer.metadata:
        return layer.metadata[_VOLUME], layer.metadata[_KEYS]
    if layer.data.ndim != 3:
        raise InputError(
            f"{layer.name}: expected a layer of three axes (z, y, x), found shape {tuple(layer.data.shape)}; split its channels "
            "or points in time into layers."
        )
    # Short, as "µm"; a layer without a unit has pixels.
    unit = format(layer.units[0], "~")
    volume = from_array(np.asarray(layer.data), layer.name, layer.scale[-3:], unit if unit in MICROMETRES else None)
    return volume, DataKeys()


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(one) for one in ([path] if isinstance(path, str | Path) else path)]
