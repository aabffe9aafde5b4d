"""Files of several scenes and points in time, as microscopes write them: one volume is taken, of all its channels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Spacing
from keras_unet3d.volumes.axes import in_order
from keras_unet3d.volumes.reading import refuse_non_numbers
from keras_unet3d.volumes.volume import Volume, checked_spacing
from keras_unet3d.words import by, some


@dataclass(frozen=True)
class Scene:
    """One of the images in a file.

    Attributes:
        name: what the file calls it; "" where it has no name.
        sizes: how many there are along every axis, a letter each; t, c and z may be missing.
        dtype: of the voxels.
        read: a point in time, slices of z, c, y and x -> array of these axes.
        spacing: voxel size (z, y, x) in micrometres; None where the file does not say.
        packed: whether a crop costs as much as all of its planes.
    """

    name: str
    sizes: dict[str, int]
    dtype: np.dtype
    read: Callable[[int, Box], np.ndarray]
    spacing: Spacing | None = None
    packed: bool = False

    def __str__(self) -> str:
        shape = by(size for size in self.sizes.values() if size > 1)
        return f"{self.name} ({shape})" if self.name else f"({shape})"


def volume_of(path: Path, scenes: Sequence[Scene], scene: str | None, time: int | None) -> Volume:
    """Return the volume of a scene at a point in time.

    Raises:
        InputError: several of either and none or no such one chosen, or a scene that is no stack of planes of grey values.
    """
    if not scenes:
        raise InputError(f"{path}: expected an image, found none; check the file.")
    number = chosen_scene(path, [str(one) for one in scenes], [one.name for one in scenes], scene)
    one = scenes[number]
    name = f"{path}:{one.name or number}" if len(scenes) > 1 else str(path)
    others = {axis: size for axis, size in one.sizes.items() if axis not in "tczyx" and size > 1}
    if others or one.sizes.get("z", 1) == 1:
        axes = "".join(one.sizes)
        raise InputError(
            f"{name}: expected a stack of planes, found axes {axes} of sizes {by(one.sizes.values())}; save the stack as TIFF."
        )
    refuse_non_numbers(name, one.dtype)
    at = chosen_time(name, one.sizes.get("t", 1), time)
    shape = tuple(one.sizes.get(axis, 1) for axis in "zcyx")
    zyx, channels, read = in_order("zcyx", shape, lambda index: one.read(at, index))
    spacing = None if one.spacing is None else checked_spacing(path, one.spacing)
    return Volume(name, zyx, channels, one.dtype, read, spacing, spacing and "um", path, {"order": "zyx"}, one.packed)


def chosen_scene(path: Path, described: Sequence[str], names: Sequence[str], scene: str | None) -> int:
    """Return the number of the scene of that name or number; the only one needs none."""
    if len(described) == 1:
        return 0
    if scene in names:
        return names.index(scene)
    if scene is not None and scene.isdecimal() and int(scene) < len(described):
        return int(scene)
    listed = some(
        [one if one.startswith(f"{number} ") else f"{number} {one}" for number, one in enumerate(described)], 12
    )
    given = f"found {scene!r} and these" if scene is not None else f"found {len(described)}"
    raise InputError(f"{path}: expected one scene, {given}: {listed}; name it by its number or name, like `scene=0`.")


def chosen_time(name: str, count: int, time: int | None) -> int:
    """Return the point in time; the only one needs none."""
    if count == 1:
        return 0
    if time is not None and 0 <= time < count:
        return time
    given = f"found {count}" if time is None else f"found {time}, and {count} in the file"
    raise InputError(f"{name}: expected one point in time, {given}; choose one of 0 to {count - 1}, like `time=0`.")
