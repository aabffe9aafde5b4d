"""LIF of Leica's microscopes, read plane by plane."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Spacing, triple
from keras_unet3d.volumes.reading import by_planes, package
from keras_unet3d.volumes.scenes import Scene, volume_of
from keras_unet3d.volumes.volume import Volume


def open_lif(
    path: Path, key: str | None, axes: str | None, scene: str | None = None, time: int | None = None
) -> Volume:
    liffile = package(path, "liffile", "lif")
    with liffile.LifFile(path) as file:
        scenes = [_scene(path, number, image) for number, image in enumerate(file.images)]
    return volume_of(path, scenes, scene, time)


def _scene(path: Path, number: int, image: Any) -> Scene:
    sizes = {axis.lower(): size for axis, size in image.sizes.items()}

    def read(time: int, index: Box) -> np.ndarray:
        import liffile

        if image.dims[-2:] != ("Y", "X"):
            raise InputError(
                f"{path}:{image.name}: expected planes of y and x, found axes {''.join(image.dims)}; save it as TIFF."
            )
        with liffile.LifFile(path) as file:
            opened: Any = file.images[number]

            def plane(z: int, c: int) -> np.ndarray:
                wanted = {"T": time, "Z": z, "C": c}
                return opened.frame(**{axis: at for axis, at in wanted.items() if axis in opened.sizes})

            shape = tuple(sizes.get(axis, 1) for axis in "zcyx")
            return by_planes(shape, plane)(index)

    # A crop reads whole planes.
    return Scene(image.name, sizes, np.dtype(image.dtype), read, _spacing(image), packed=True)


def _spacing(image: Any) -> Spacing | None:
    """Return the voxel size (z, y, x) in micrometres by the coordinates of planes, rows and columns, which are in metres."""
    steps = [np.diff(image.coords[axis][:2]) for axis in "ZYX" if axis in image.coords]
    return triple(abs(float(step[0])) * 1e6 for step in steps) if len(steps) == 3 and all(map(len, steps)) else None
