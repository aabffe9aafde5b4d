"""The order of a file's axes, to and from `(z, y, x, channels)`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Triple, triple
from keras_unet3d.volumes.volume import Volume


class NoChannels(InputError):
    """The order of axes has channels, and the array has not."""


def clean_axes(axes: str | None) -> str | None:
    """Return the order that a user gave in lower case; raises `InputError` where it is no order of a volume's axes."""
    if axes is None:
        return None
    cleaned = axes.lower()
    if len(set(cleaned)) != len(cleaned) or not are_of_volume(cleaned):
        raise InputError(f"axes: expected z, y, x and perhaps c, each once, e.g. czyx; found {axes!r}.")
    return cleaned


def are_of_volume(axes: str) -> bool:
    """Return whether the letters are those of a volume's axes: z, y, x and perhaps c."""
    return set(axes) in (set("zyx"), set("zyxc"))


def own_axes(attribute: Any) -> str | None:
    """Return the order of axes that this package writes as an attribute of its arrays; None for anything else."""
    return attribute if isinstance(attribute, str) and are_of_volume(attribute) else None


def letters(names: Sequence[Any]) -> str | None:
    """Return the names of axes as one word, like "czyx"; None where an axis has no name."""
    # An axis with a longer name makes a word that fits no array, and that a message shows as it is.
    return "".join(str(name).lower() for name in names) if all(names) and names else None


def order_of(name: object, shape: tuple[int, ...], axes: str | None, spatial: str) -> str:
    """Return one letter per axis of the array; `spatial` is the format's order of a plain volume."""
    if min(shape, default=1) < 1:
        raise InputError(f"{name}: expected voxels along every axis, found an array of shape {shape}; save it again.")
    if axes is not None:
        if len(axes) == len(shape):
            return axes
        kind = NoChannels if "c" in axes and len(shape) == 3 else InputError
        raise kind(f"{name}: expected {len(axes)} axes ({axes}), found an array of shape {shape}; correct `axes`.")
    if len(shape) == 3:
        return spatial
    if len(shape) == 4:
        raise InputError(
            f"{name}: expected to be told the order of four axes, found an array of shape {shape}; "
            "add `axes`, e.g. `axes=czyx` (channels first) or `axes=zyxc` (channels last)."
        )
    raise InputError(f"{name}: expected a volume of three axes, or four with channels; found shape {shape}.")


def refuse_times(name: object, declared: str, shape: tuple[int, ...], instead: str = "") -> None:
    """Raise `InputError` where the axes that a file declares, a letter each, have more than one point in time.

    `instead` is what else can be done about it, for the end of the sentence.
    """
    times = dict(zip(declared, shape, strict=True)).get("t", 1)
    if times > 1:
        stack = "" if "z" in declared else ", or add `axes=zyx` if it is a stack of planes"
        raise InputError(
            f"{name}: expected one point in time, found {times} (axes {declared}, shape {shape}); "
            f"save the one to segment as a volume of its own{stack}{instead}."
        )


def in_order(
    order: str, shape: tuple[int, ...], read: Callable[[Box], np.ndarray], flipped: str = ""
) -> tuple[Triple, int, Callable[[Box], np.ndarray]]:
    """Return shape, channels and reader `(z, y, x, c)` for an array whose axes are `order`.

    Axes in `flipped` run backwards in the file.
    """
    sizes = dict(zip(order, shape, strict=True))
    zyx = triple(sizes[axis] for axis in "zyx")
    transposed = [order.index(axis) for axis in ("zyxc" if "c" in order else "zyx")]
    reverse = tuple(slice(None, None, -1 if axis in flipped else 1) for axis in "zyx")

    def read_box(box: Box) -> np.ndarray:
        wanted = dict(zip("zyx", box, strict=True))
        for axis in flipped:
            wanted[axis] = slice(sizes[axis] - wanted[axis].stop, sizes[axis] - wanted[axis].start)
        array = read(tuple(wanted.get(axis, slice(None)) for axis in order)).transpose(transposed)[reverse]
        return array if "c" in order else array[..., None]

    return zyx, sizes.get("c", 1), read_box


def from_order(array: np.ndarray, order: str, flipped: str = "") -> np.ndarray:
    """Return `(z, y, x[, c])` in the file's order: the inverse of `in_order`."""
    array = array[tuple(slice(None, None, -1 if axis in flipped else 1) for axis in "zyx")]
    return array.transpose(["zyxc".index(axis) for axis in order])


def place_in_order(box: Box, shape: Triple, order: str, flipped: str = "") -> Box:
    """Return where a box of a volume `shape` (z, y, x) lies in an array whose axes are `order`."""
    sides = dict(zip("zyx", box, strict=True))
    for axis, size in zip("zyx", shape, strict=True):
        if axis in flipped:
            sides[axis] = slice(size - sides[axis].stop, size - sides[axis].start)
    return tuple(sides.get(axis, slice(None)) for axis in order)


def shape_in_order(shape: Triple, channels: int | None, order: str) -> tuple[int, ...]:
    """Return the shape of an array whose axes are `order`, of a volume `shape` (z, y, x)."""
    sizes = dict(zip("zyx", shape, strict=True))
    if channels is not None:
        sizes["c"] = channels
    return tuple(sizes[axis] for axis in order)


def plain_order(like: Volume, channels: int | None) -> str:
    """Return the order of axes of the file that `like` came from; channels, where there are any, go last."""
    return like.layout.get("order", "zyx").replace("c", "") + "c" * (channels is not None)
