"""Where patches are taken, and why there: around labelled voxels, every class as often as any other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.intensity import Statistics
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.volumes import Box, Volume

_BLOCK = 32
# Voxels that a validation region keeps away from the training region.
_GUARD = 2


@dataclass(frozen=True)
class LabelIndex:
    """How many voxels of each class every block of a class volume holds: exact, and small for any volume.

    Attributes:
        corners: first voxel (z, y, x) of every block that has labels, `(blocks, 3)`.
        counts: labelled voxels per block and class, `(blocks, classes)`.
    """

    corners: np.ndarray
    counts: np.ndarray

    @property
    def per_class(self) -> np.ndarray:
        """Labelled voxels per class."""
        return self.counts.sum(axis=0)


@dataclass(frozen=True)
class Source:
    """A volume that patches are drawn from: image, classes (`UNLABELLED` where nobody said) and weights."""

    name: str
    image: Volume
    classes: Volume
    weight: Volume | None
    statistics: Statistics
    index: LabelIndex

    @property
    def file(self) -> str:
        """What tells this source from any other: the path of its image."""
        return str(self.image.path.resolve()) if self.image.path else self.name


def index_labels(classes: Volume, num_classes: int) -> LabelIndex:
    """Return the index of a class volume, read once in blocks."""
    corners, counts = [], []
    for corner, block in _index_blocks(classes):
        count = np.bincount(block.ravel(), minlength=256)[:num_classes]
        if count.any():
            corners.append(corner)
            counts.append(count)
    return LabelIndex(np.array(corners, int).reshape(-1, 3), np.array(counts, int).reshape(-1, num_classes))


def _index_blocks(classes: Volume) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Yield corner and voxels of the index' blocks, reading many of them at a time."""
    for box, voxels in classes.blocks():
        for start in product(*(range(0, size, _BLOCK) for size in voxels.shape[:3])):
            corner = tuple(s.start + a for s, a in zip(box, start, strict=True))
            yield corner, voxels[tuple(slice(a, a + _BLOCK) for a in start)]


def draw_voxel(rng: np.random.Generator, source: Source) -> np.ndarray:
    """Return a labelled voxel (z, y, x): first a class that occurs, then a voxel of it, each uniformly."""
    per_class = source.index.per_class
    chosen = rng.choice(np.flatnonzero(per_class))
    nth = int(rng.integers(per_class[chosen]))
    ends = np.cumsum(source.index.counts[:, chosen])
    block = int(np.searchsorted(ends, nth, side="right"))
    corner = source.index.corners[block]
    within = nth - (int(ends[block - 1]) if block else 0)
    voxels = source.classes.read(block_at(corner, source.classes.shape))[..., 0]
    return corner + np.argwhere(voxels == chosen)[within]


def block_at(corner, shape) -> Box:
    """Return the box of the index' block that begins at `corner`."""
    return tuple(slice(int(a), min(int(a) + _BLOCK, n)) for a, n in zip(corner, shape, strict=True))


def draw_patch_start(rng: np.random.Generator, voxel, patch, output, shape) -> np.ndarray:
    """Return the first voxel of a patch that sees `voxel` in the middle half of its output.

    Args:
        voxel: a labelled voxel (z, y, x).
        patch: size of the network's input.
        output: size of its output, in the middle of the patch.
        shape: of the volume. The output does not stick out of it where it fits; where it does not, the
            volume lies in the middle of it.
    """
    patch, output, shape = map(np.asarray, (patch, output, shape))
    offset = (output / 4 + rng.random(3) * output / 2).astype(int)
    first = np.clip(voxel - offset, 0, np.maximum(shape - output, 0))
    centred = (shape - output) // 2
    return np.where(shape < output, centred, first) - (patch - output) // 2


def read_mirrored(volume: Volume, start, size) -> np.ndarray:
    """Return the box at `start` (may be negative) with what is outside the volume mirrored at its border."""
    indices = [_mirror(np.arange(a, a + n), extent) for a, n, extent in zip(start, size, volume.shape, strict=True)]
    box = tuple(slice(int(index.min()), int(index.max()) + 1) for index in indices)
    voxels = volume.read(box)
    return voxels[np.ix_(*(index - s.start for index, s in zip(indices, box, strict=True)))]


def _mirror(index: np.ndarray, extent: int) -> np.ndarray:
    """Fold positions into 0..extent-1, the border voxel not repeated; any distance outside is legal."""
    if extent == 1:
        return np.zeros_like(index)
    folded = np.mod(index, 2 * (extent - 1))
    return np.where(folded < extent, folded, 2 * (extent - 1) - folded)


def read_filled(volume: Volume, start, size, fill) -> np.ndarray:
    """Return the box at `start` (may be negative) with `fill` where it is outside the volume."""
    result = np.full((*size, volume.channels), fill, volume.dtype)
    inside = tuple(slice(max(a, 0), min(a + n, extent)) for a, n, extent in zip(start, size, volume.shape, strict=True))
    if all(s.start < s.stop for s in inside):
        into = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, start, strict=True))
        result[into] = volume.read(tuple(slice(int(s.start), int(s.stop)) for s in inside))
    return result


# ---- validation ----------------------------------------------------------------------------------


def split_by_volume(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the positions of training and validation volumes: `share` of them, at least one of each."""
    held_out = min(max(1, round(count * share)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def split_by_region(classes: Volume, share: float, num_classes: int) -> tuple[Volume, Volume, str]:
    """Return the class volume twice, with labels in the first and in the last part of its longest axis only.

    The cut lies where about `share` of the labelled voxels are behind it; a few voxels at the cut are in
    neither part. The third value says where the cut is.

    Raises:
        InputError: no cut leaves labels of two classes on both sides.
    """
    for axis in np.argsort(classes.shape)[::-1]:
        planes = _classes_per_plane(classes, int(axis), num_classes)
        labelled = planes.sum(axis=1)
        if not labelled.sum():
            break
        cut = int(np.searchsorted(np.cumsum(labelled), (1 - share) * labelled.sum()))
        before, after = planes[: max(cut - _GUARD, 0)].sum(axis=0), planes[cut:].sum(axis=0)
        if min((before > 0).sum(), (after > 0).sum()) >= 2:
            name = "zyx"[axis]
            said = f"{name} >= {cut} of {classes.shape[axis]} for validation, {name} < {cut - _GUARD} for training"
            return _restricted(classes, axis, 0, cut - _GUARD), _restricted(classes, axis, cut, None), said
    raise InputError(
        f"{classes.name}: expected annotations that can be split into training and validation, found too few; "
        "annotate more slices, or give another volume with --val."
    )


def _classes_per_plane(classes: Volume, axis: int, num_classes: int) -> np.ndarray:
    """Return labelled voxels per plane across `axis` and class, `(planes, classes)`."""
    counts = np.zeros((classes.shape[axis], num_classes), int)
    for box, voxels in classes.blocks():
        for plane in range(box[axis].start, box[axis].stop):
            values = voxels.take(plane - box[axis].start, axis=axis)
            counts[plane] += np.bincount(values.ravel(), minlength=256)[:num_classes]
    return counts


def _restricted(classes: Volume, axis: int, first: int, last: int | None) -> Volume:
    """Return the class volume with everything outside planes `first` to `last` across `axis` unlabelled."""
    last = classes.shape[axis] if last is None else last

    def read(box):
        voxels = classes.read(box).copy()
        planes = np.arange(box[axis].start, box[axis].stop)
        outside = (slice(None),) * axis + ((planes < first) | (planes >= last),)
        voxels[outside] = UNLABELLED
        return voxels

    return replace(classes, read=read)
