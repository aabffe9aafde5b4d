"""Volumes that lie in a space: turned to the closest RAS+ orientation when read, and back when written."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Spacing, Triple, triple
from keras_unet3d.volumes.volume import Volume

# From the space of DICOM and ITK, whose x and y run to the left and to posterior, to RAS+, and back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(path: Path | str, affine: np.ndarray, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the layout of a volume whose voxels a file's affine maps to RAS+.

    "turned" is which of x, y, z each of the file's three axes is, the one that runs fastest first; "flipped" are those that run
    backwards, and "affine" maps voxels (x, y, z) of the turned volume.

    Args:
        path: what messages call the file.
        affine: 4x4, from the file's indices.
        shape: of the file's axes, of which the first three are those of space.

    Raises:
        InputError: an affine that loses an axis.
    """
    import nibabel

    orientation = nibabel.io_orientation(affine) if np.isfinite(affine).all() else np.full((4, 2), np.nan)
    if np.isnan(orientation).any():
        raise InputError(f"{path}: expected an affine that maps three voxel axes, found {affine.tolist()}.")
    order = "".join("xyz"[int(axis)] for axis in orientation[:3, 0])
    flipped = "".join(letter for letter, sign in zip(order, orientation[:3, 1], strict=True) if sign < 0)
    # What has fewer axes is for the reader to refuse.
    sizes = dict(zip(order, (*shape, 1, 1, 1), strict=False))
    indices = _indices(order, flipped, triple(sizes[axis] for axis in "zyx"))
    return {"turned": order, "flipped": flipped, "affine": affine @ np.linalg.inv(indices)}


def spacing_of(affine: np.ndarray) -> Spacing:
    """Return the voxel size (z, y, x) of a volume whose voxels (x, y, z) an affine maps."""
    return triple(float(size) for size in np.linalg.norm(affine[:3, 2::-1], axis=0))


def written_order(like: Volume) -> tuple[str, str]:
    """Return the order of the axes of a file with the orientation of `like`, and which of them run backwards."""
    return like.layout.get("turned", "xyz"), like.layout.get("flipped", "")


def written_affine(like: Volume) -> np.ndarray:
    """Return the affine from the indices of a file in `written_order` to RAS+, in the unit of `like`."""
    affine = np.diag([*(like.spacing or (1.0,) * 3)[::-1], 1.0]) if like.affine is None else like.affine
    return affine @ _indices(*written_order(like), like.shape)


def _indices(order: str, flipped: str, shape: Triple) -> np.ndarray:
    """Return the matrix from indices of a file to voxels (x, y, z) of the turned volume of that shape (z, y, x)."""
    matrix = np.eye(4)[:, ["xyz".index(axis) for axis in order] + [3]]
    for axis in flipped:
        row = "xyz".index(axis)
        matrix[row] *= -1
        matrix[row, 3] = shape["zyx".index(axis)] - 1
    return matrix
