"""A volume that is read by crops, whatever it is stored in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Spacing, Triple, boxes_of, triple
from keras_unet3d.places import Place
from keras_unet3d.volumes.threads import in_threads

_BLOCK = 128
# Voxels of a box of what is unpacked as a whole for each.
_SLAB = 2**25
# Floats of this size and more do not hold every whole number, so that none of them is taken for a label.
_MOST_EXACT = 2.0**53
# Units that files name, in micrometres.
MICROMETRES: dict[str | None, float] = {
    "um": 1,
    "µm": 1,
    "micron": 1,
    "mm": 1e3,
    "nm": 1e-3,
    "cm": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25400,
    "angstrom": 1e-4,
    "Å": 1e-4,
}
# A voxel size further than this from another is worth a word.
SPACING_TOLERANCE = 1.25


def micrometres(spacing: Spacing | None, unit: str | None) -> Spacing | None:
    """Return a voxel size in micrometres; None where size or unit is not known."""
    factor = MICROMETRES.get(unit)
    return triple(size * factor for size in spacing) if spacing and factor else None


@dataclass(frozen=True)
class Volume:
    """A volume that is read by crops.

    Attributes:
        name: what messages call it.
        shape: voxels (z, y, x).
        channels: number of channels.
        dtype: of the stored voxels.
        read: a box of three slices -> array `(z, y, x, channels)`.
        spacing: voxel size (z, y, x) in `unit`, None where the file does not say.
        unit: "mm", "um", ... or None.
        path: the file, or the URL.
        layout: what a writer needs to give an output the same geometry: "order" of the file's axes; of a volume in a space
            "affine", "turned" and "flipped" (`orientation.py`); "nifti" (the image), "dicom" (the folder of the series),
            "mrc" (where it begins), "names" (of label values), "inside" (what of the file the path named). "sparse" are labels that
            may leave out planes of nothing.
        packed: whether reading any crop unpacks all, or much, of the file.
    """

    name: str
    shape: Triple
    channels: int
    dtype: np.dtype
    read: Callable[[Box], np.ndarray] = field(repr=False)
    spacing: Spacing | None = None
    unit: str | None = None
    path: Place | None = None
    layout: dict[str, Any] = field(default_factory=dict, repr=False)
    packed: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that the whole volume takes in memory."""
        return int(np.prod(self.shape)) * self.channels * self.dtype.itemsize

    @property
    def micrometres(self) -> Spacing | None:
        """Voxel size (z, y, x) in micrometres; None where size or unit is not known."""
        return micrometres(self.spacing, self.unit)

    @property
    def affine(self) -> np.ndarray | None:
        """The 4x4 matrix from voxels (x, y, z) of this volume to the file's space; None where the format has none."""
        return self.layout.get("affine")

    def array(self) -> np.ndarray:
        """Return the whole volume, `(z, y, x, channels)`."""
        return self.read(tuple(slice(0, size) for size in self.shape))

    def boxes(self) -> Iterator[Box]:
        """Return boxes that cover the volume once."""
        _, y, x = self.shape
        return boxes_of(self.shape, (max(1, _SLAB // (y * x)), y, x) if self.packed else (_BLOCK,) * 3)

    def blocks(self) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield the boxes with their voxels; memory does not grow with the volume."""
        return in_threads(lambda box: (box, self.read(box)), self.boxes())


def whole_numbers(name: str, block: np.ndarray, mend: str = "is this the image?") -> np.ndarray:
    """Return labels as integers; raises `InputError`, which ends in what to `mend`, where a float is no whole number."""
    if block.dtype.kind != "f":
        return block.astype(np.uint8) if block.dtype.kind == "b" else block
    broken = ~(np.abs(block) < _MOST_EXACT) | (block != np.floor(block))
    if broken.any():
        raise InputError(
            f"{name}: expected labels that are whole numbers, found {block[broken][0]:g} "
            f"({int(broken.sum())} such voxels in the first block that has any); {mend}"
        )
    return block.astype(np.int64)


@dataclass(frozen=True)
class NewVolume:
    """A volume to be written.

    Attributes:
        dtype: of its voxels.
        like: the volume whose size, orientation and voxel size it takes over.
        key: name of the data set in HDF5 or Zarr.
        channels: how many it has; None for a plain volume (z, y, x).
        chunks: of Zarr (z, y, x); None for the usual ones.
    """

    dtype: np.dtype
    like: Volume
    key: str
    channels: int | None = None
    chunks: Triple | None = None

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x)."""
        return self.like.shape


def from_array(array: np.ndarray, name: str = "array", spacing: Any = None, unit: str | None = None) -> Volume:
    """Return a volume over an array `(z, y, x)` or `(z, y, x, channels)`."""
    if array.ndim not in (3, 4):
        raise InputError(f"{name}: expected an array (z, y, x) or (z, y, x, channels), found shape {array.shape}.")
    if not np.can_cast(array.dtype, np.float32, "same_kind"):
        raise InputError(f"{name}: expected grey values, real numbers; found {array.dtype}.")
    if 0 in array.shape:
        raise InputError(f"{name}: expected voxels, found an empty array of shape {array.shape}.")
    if array.ndim == 3:
        array = array[..., None]
    return Volume(
        name,
        triple(array.shape[:3]),
        array.shape[3],
        array.dtype,
        # No lambda: such a volume may be sent to another process.
        array.__getitem__,
        None if spacing is None else checked_spacing(name, spacing),
        unit,
    )


def in_memory(volume: Volume) -> Volume:
    """Return the same volume with its voxels loaded, box by box in threads."""
    array = np.empty((*volume.shape, volume.channels), volume.dtype)
    for box, voxels in volume.blocks():
        array[box] = voxels
    return replace(volume, read=lambda box: array[box], packed=False)


def cropped(volume: Volume, box: Box) -> Volume:
    """Return a part of a volume as a volume."""

    def read(inner: Box) -> np.ndarray:
        return volume.read(
            triple(slice(part.start + s.start, part.start + s.stop) for part, s in zip(box, inner, strict=True))
        )

    return replace(volume, shape=triple(part.stop - part.start for part in box), read=read)


def embedded(volume: Volume, shape: Triple, corner: Triple) -> Volume:
    """Return a volume within one of that shape, whose other voxels are 0; its first voxel is at `corner` (z, y, x)."""

    def read(box: Box) -> np.ndarray:
        array = np.zeros([*(part.stop - part.start for part in box), volume.channels], volume.dtype)
        # Where box and volume meet, in the coordinates of either.
        low = [max(part.start, at) for part, at in zip(box, corner, strict=True)]
        high = [min(part.stop, at + size) for part, at, size in zip(box, corner, volume.shape, strict=True)]
        if all(start < stop for start, stop in zip(low, high, strict=True)):
            inner, outer = (
                triple(slice(start - at, stop - at) for start, stop, at in zip(low, high, origin, strict=True))
                for origin in (corner, [part.start for part in box])
            )
            array[outer] = volume.read(inner)
        return array

    layout = dict(volume.layout)
    if volume.affine is not None:
        moved = np.eye(4)
        moved[:3, 3] = np.negative(corner[::-1])
        layout["affine"] = volume.affine @ moved
    return replace(volume, shape=shape, read=read, layout=layout)


def stacked(volumes: list[Volume], name: str) -> Volume:
    """Return one volume whose channels are those of `volumes`, one after the other."""
    first = volumes[0]
    for other in volumes[1:]:
        if other.shape != first.shape:
            raise InputError(f"{other.name}: expected the shape of {first.name}, {first.shape}; found {other.shape}.")
    return replace(
        first,
        name=name,
        channels=sum(volume.channels for volume in volumes),
        dtype=np.result_type(*(volume.dtype for volume in volumes)),
        read=lambda box: np.concatenate([volume.read(box) for volume in volumes], axis=-1),
    )


def common_type(array: np.ndarray) -> np.dtype:
    """Return the type in which most programs read these voxels: no half floats, 64-bit integers only where 32 are too few."""
    if array.dtype == np.float16:
        return np.dtype(np.float32)
    narrower = {"int64": ("int32", "uint32"), "uint64": ("uint32",)}.get(array.dtype.name, ())
    low, high = (int(array.min()), int(array.max())) if narrower else (0, 0)
    fitting = (kind for kind in narrower if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.dtype(next(fitting, array.dtype))


def checked_spacing(name: object, spacing: Any) -> Spacing:
    """Return a voxel size (z, y, x) as a file or a caller gives it; raises `InputError` where it is none."""
    try:
        values = [float(value) for value in np.ravel(spacing)]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or not all(np.isfinite(value) and value > 0 for value in values):
        raise InputError(f"{name}: expected a voxel size of three positive numbers (z, y, x), found {spacing}.")
    return triple(values)
