"""Stacks of sections: which volumes are some, and whether their sections differ in grey values."""

from collections.abc import Sequence

import numpy as np

from keras_unet3d.volumes import Volume

# A stack of sections has voxels so many times as long along z as in the plane, where they are at most so many micrometres.
_LONGER, _WIDEST = 4, 1.0
# Voxels that are looked at, of at most so many volumes, and along an edge in the plane.
_MOST_VOXELS, _MOST_VOLUMES, _MOST_EDGE = 2**26, 3, 512
# Sections differ where their grey values jump by more than this, in standard deviations.
_JUMP = 0.05


def is_stack(images: Sequence[Volume]) -> bool:
    """Return whether all volumes are microscopy of sections: planes across z that are far apart for their voxels."""
    sizes = [image.micrometres for image in images]
    return all(size and size[0] >= _LONGER * max(size[1:]) and max(size[1:]) <= _WIDEST for size in sizes)


def sections_differ(images: Sequence[Volume]) -> bool:
    """Return whether grey values jump from section to section more than content explains.

    Content changes along y and x as well: planes across them, as far apart as two sections, say by how much.
    """
    return any(_differ(image) for image in images[:_MOST_VOLUMES])


def _differ(image: Volume) -> bool:
    edge = min(_MOST_EDGE, int((_MOST_VOXELS / image.shape[0]) ** 0.5))
    middle = [
        slice((size - edge) // 2, (size + edge) // 2) if size > edge else slice(0, size) for size in image.shape[1:]
    ]
    voxels = image.read((slice(0, image.shape[0]), *middle)).astype(np.float32)
    apart = np.ones(3) if image.spacing is None else image.spacing[0] / np.array(image.spacing)
    along_z, *in_plane = (jump(voxels, axis, max(round(apart[axis]), 1)) for axis in range(3))
    return along_z > max(_JUMP, *in_plane)


def jump(voxels: np.ndarray, axis: int, apart: int) -> float:
    """Return by how much a plane across `axis` is off the middle of those `apart` before and after it, a mean over planes.

    Mean and deviation of its grey values `(z, y, x, channels)` count, in deviations of the volume and as a logarithm.
    """
    if voxels.shape[axis] <= 2 * apart:
        return 0.0
    others = tuple(other for other in range(3) if other != axis)
    all_of_it = np.maximum(voxels.std(axis=(0, 1, 2), dtype=np.float64), 1e-30)
    mean, std = (function(voxels, axis=others, dtype=np.float64) / all_of_it for function in (np.mean, np.std))
    figures = np.stack([mean, np.log(np.maximum(std, 1e-3))])
    off = figures[:, apart:-apart] - (figures[:, : -2 * apart] + figures[:, 2 * apart :]) / 2
    return float(np.sqrt(np.square(off).sum(axis=0).mean()))
