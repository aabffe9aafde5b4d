"""OME-Zarr, 0.1 to 0.5: what the attributes of Zarr groups say of an image, and what is written to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_unet3d.geometry import Spacing, triple
from keras_unet3d.volumes.axes import letters
from keras_unet3d.volumes.volume import MICROMETRES, Volume, checked_spacing

# OME-Zarr before 0.3 names no axes, because it knew no other order.
UNNAMED = "tczyx"
# Units as OME-Zarr spells them, in micrometres.
_UNITS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25400.0,
}
_UNIT_NAMES = {factor: unit for unit, factor in _UNITS.items()}
# The newest version of OME-Zarr that goes with a format of Zarr.
_VERSIONS = {2: "0.4", 3: "0.5"}


@dataclass(frozen=True)
class Description:
    """What the attributes say of an array, an entry per axis of it; None where they say nothing."""

    axes: str | None = None
    scale: tuple[float | None, ...] | None = None
    units: tuple[Any, ...] | None = None


# ---- reading -------------------------------------------------------------------------------------


def described(root: Any, array: Any) -> Description:
    """Return what the closest group says that lists `array` among the resolutions of its image.

    Args:
        root: the Zarr group, or the array where a folder holds nothing else.
        array: the Zarr array, somewhere within `root`.
    """
    parts = array.path.split("/") if array.path else []
    for depth in reversed(range(len(parts))):
        image = _multiscale(root["/".join(parts[:depth])] if depth else root)
        dataset = _datasets(image).get("/".join(parts[depth:]))
        if dataset is not None:
            return _description(image, dataset, array.ndim)
    return Description()


def full_resolution(group: Any) -> str | None:
    """Return the path of the image at full resolution that a Zarr group describes; None where it describes none."""
    return next(iter(_datasets(_multiscale(group))), None)


def spacing_of(name: str, description: Description, zyx: Sequence[int]) -> tuple[Spacing | None, str | None]:
    """Return the voxel size (z, y, x) and its unit.

    Args:
        name: what messages call the volume.
        description: of the array.
        zyx: which of the array's axes z, y and x are.
    """
    if description.scale is None:
        return None, None
    sizes = checked_spacing(name, [description.scale[axis] for axis in zyx])
    units = [description.units[axis] if description.units else None for axis in zyx]
    factors = [factor for factor in map(_micrometres, units) if factor is not None]
    if len(factors) == len(units):
        return triple(size * factor for size, factor in zip(sizes, factors, strict=True)), "um"
    # Ones without a unit are what is written where nobody measured.
    return (None if set(sizes) == {1.0} else sizes), None


def _micrometres(unit: Any) -> float | None:
    # The British spelling occurs as well.
    return _UNITS.get(unit.replace("metre", "meter")) if isinstance(unit, str) else None


def _multiscale(group: Any) -> dict[str, Any]:
    """Return the first multiscale image that a group describes, empty for none."""
    attributes = dict(group.attrs)
    # Since 0.5 everything is under one key.
    metadata = attributes.get("ome", attributes)
    images = metadata.get("multiscales") if isinstance(metadata, dict) else None
    image = images[0] if isinstance(images, list) and images else None
    return image if isinstance(image, dict) else {}


def _datasets(image: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arrays of a multiscale image by path, full resolution first."""
    datasets = [dataset for dataset in _listed(image, "datasets") if isinstance(dataset, dict)]
    return {dataset["path"]: dataset for dataset in datasets if isinstance(dataset.get("path"), str)}


def _listed(metadata: dict[str, Any], key: str) -> list[Any]:
    """Return the list under `key`; an empty one where there is none, or anything else in its place."""
    value = metadata.get(key)
    return value if isinstance(value, list) else []


def _description(image: dict[str, Any], dataset: dict[str, Any], ndim: int) -> Description:
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in _listed(image, "axes")]
    scales = [scale for level in (dataset, image) for scale in _scales(level) if len(scale) == ndim]
    return Description(
        letters([axis.get("name") for axis in axes]) if axes else UNNAMED,
        tuple(_product(factors) for factors in zip(*scales, strict=True)) if scales else None,
        tuple(axis.get("unit") for axis in axes) if len(axes) == ndim else None,
    )


def _scales(transformed: dict[str, Any]) -> list[list[Any]]:
    transformations = _listed(transformed, "coordinateTransformations")
    scales = [transformation.get("scale") for transformation in transformations if isinstance(transformation, dict)]
    return [scale for scale in scales if isinstance(scale, list)]


def _product(factors: Sequence[Any]) -> float | None:
    # What is no number is refused with the voxel size, in words.
    return float(np.prod(factors)) if all(isinstance(factor, int | float) for factor in factors) else None


# ---- writing -------------------------------------------------------------------------------------


def group_attributes(key: str, order: str, like: Volume, zarr_format: int) -> dict[str, Any]:
    """Return the attributes of a Zarr group that describe its array `key` as an image of one resolution.

    Args:
        key: the name of the array.
        order: its axes, a letter per axis.
        like: the volume whose voxel size it has.
        zarr_format: 2 or 3.
    """
    version = _VERSIONS[zarr_format]
    image = {"multiscales": [_image(key, order, like, version)]}
    return image if zarr_format == 2 else {"ome": image | {"version": version}}


def _image(key: str, order: str, like: Volume, version: str) -> dict[str, Any]:
    factor = MICROMETRES.get(like.unit)
    unit = None if factor is None else _UNIT_NAMES.get(factor)
    sizes = dict(zip("zyx", like.spacing or (1.0, 1.0, 1.0), strict=True))
    axes = [
        {"name": axis, "type": "channel"}
        if axis == "c"
        else {"name": axis, "type": "space"} | ({"unit": unit} if unit and like.spacing else {})
        for axis in order
    ]
    scale = [float(sizes.get(axis, 1.0)) for axis in order]
    dataset = {"path": key, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {"version": version, "name": key, "axes": axes, "datasets": [dataset]}
