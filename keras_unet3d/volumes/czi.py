"""CZI of Zeiss' microscopes, read rectangle by rectangle, at full resolution."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Spacing, triple
from keras_unet3d.volumes.reading import package
from keras_unet3d.volumes.scenes import Scene, volume_of
from keras_unet3d.volumes.volume import Volume

_DTYPES = {"Gray8": np.uint8, "Gray16": np.uint16, "Gray32Float": np.float32}


def open_czi(
    path: Path, key: str | None, axes: str | None, scene: str | None = None, time: int | None = None
) -> Volume:
    czi = package(path, "pylibCZIrw.czi", "czi")
    with czi.open_czi(str(path)) as file:
        rectangles = file.scenes_bounding_rectangle_no_pyramid or {None: file.total_bounding_rectangle_no_pyramid}
        scenes = [_scene(path, file, *each) for each in sorted(rectangles.items())]
    return volume_of(path, scenes, scene, time)


def _scene(path: Path, file: Any, number: int | None, rectangle: Any) -> Scene:
    ranges = {axis.lower(): limits for axis, limits in file.total_bounding_box_no_pyramid.items()}
    sizes = {axis: stop - start for axis, (start, stop) in ranges.items() if axis not in "yx"}
    kinds = set(file.pixel_types.values())
    if len(kinds) > 1 or not kinds <= set(_DTYPES):
        raise InputError(
            f"{path}: expected grey values of one type, found {', '.join(sorted(kinds))}; save them as TIFF."
        )

    def read(time: int, index: Box) -> np.ndarray:
        from pylibCZIrw import czi

        z, c, y, x = (range(*part.indices(size)) for part, size in zip(index, shape, strict=True))
        part = (rectangle.x + x.start, rectangle.y + y.start, len(x), len(y))
        with czi.open_czi(str(path)) as opened:
            planes = [
                opened.read(roi=part, plane=_plane(ranges, t=time, z=at, c=channel), scene=number)[..., 0]
                for at in z
                for channel in c
            ]
        return np.stack(planes).reshape(len(z), len(c), len(y), len(x))

    sizes |= {"y": rectangle.h, "x": rectangle.w}
    shape = tuple(sizes.get(axis, 1) for axis in "zcyx")
    return Scene(
        "" if number is None else str(number), sizes, np.dtype(_DTYPES[kinds.pop()]), read, _spacing(file.metadata)
    )


def _plane(ranges: dict[str, tuple[int, int]], **wanted: int) -> dict[str, int]:
    return {axis.upper(): ranges[axis][0] + at for axis, at in wanted.items() if axis in ranges}


def _spacing(metadata: Any) -> Spacing | None:
    """Return the voxel size (z, y, x) in micrometres; the file has metres."""
    scaling = metadata.get("ImageDocument", {}).get("Metadata", {}).get("Scaling") or {}
    distances = (scaling.get("Items") or {}).get("Distance") or []
    listed = distances if isinstance(distances, list) else [distances]
    sizes = {one.get("@Id"): float(one.get("Value") or 0) * 1e6 for one in listed}
    return triple(sizes[axis] for axis in "ZYX") if all(sizes.get(axis) for axis in "ZYX") else None
