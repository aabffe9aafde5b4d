"""How far apart the surfaces of a class are in truth and prediction; volumes that are labelled throughout."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Spacing

# The share of a surface that the robust Hausdorff distance covers, in per cent.
_ROBUST = 95


@dataclass(frozen=True)
class Distances:
    """The distance of every surface voxel to the nearest one of the other surface, in the spacing's unit.

    Attributes:
        of_truth: of the true surface's voxels to the predicted surface; infinite where nothing was predicted.
        of_prediction: of the predicted surface's voxels to the true one; infinite where there is nothing.
    """

    of_truth: np.ndarray
    of_prediction: np.ndarray


def surface_distances(truth: np.ndarray, predicted: np.ndarray, spacing: Spacing | None = None) -> Distances:
    """Return the distances between the surfaces of two masks `(z, y, x)`.

    The surface is made of the voxels of a mask that have a face in common with a voxel outside of it, or with the outside
    of the volume; distances are those between the centres of voxels.

    Args:
        truth, predicted: bool, of the same shape.
        spacing: voxel size (z, y, x); None for distances in voxels.

    Raises:
        InputError: masks of different shapes, or that are not (z, y, x).
    """
    from scipy.spatial import KDTree

    if truth.shape != predicted.shape or truth.ndim != 3:
        raise InputError(
            f"surfaces: expected two masks (z, y, x) of the same shape, found {truth.shape} and {predicted.shape}."
        )
    first, second = (_surface(mask) * np.asarray(spacing or (1.0, 1.0, 1.0)) for mask in (truth, predicted))
    if not len(first) or not len(second):
        return Distances(np.full(len(first), np.inf), np.full(len(second), np.inf))
    return Distances(KDTree(second).query(first)[0], KDTree(first).query(second)[0])


def _surface(mask: np.ndarray) -> np.ndarray:
    """Return the positions of a mask's surface voxels, `(voxels, 3)`."""
    from scipy import ndimage

    inside = mask.astype(bool)
    return np.argwhere(inside & ~ndimage.binary_erosion(inside))


def surface_figures(distances: Distances, tolerance: float) -> dict[str, float | None]:
    """Return what reviewers ask of surfaces: `"hausdorff_95"`, `"surface_distance"` and `"surface_dice"`.

    Args:
        distances: what `surface_distances` returned.
        tolerance: the distance up to which a voxel of a surface counts as right, in the same unit.

    Returns:
        The larger of the two 95 % quantiles of the distances; their mean over the voxels of both surfaces; and the share of
        these within the tolerance. Without one of the surfaces the first two are None and the last is 0; without both
        all are None.

    Source: Maier-Hein et al. 2024 (doi:10.1038/s41592-023-02151-z) for the definitions; the normalised surface Dice is
    that of Nikolov et al. 2021 (doi:10.2196/26151), with voxels for surface elements.
    """
    both = np.concatenate([distances.of_truth, distances.of_prediction])
    if not len(both):
        return dict.fromkeys(("hausdorff_95", "surface_distance", "surface_dice"))
    within = float((both <= tolerance * (1 + _ROUNDING)).mean())
    if not np.isfinite(both).all():
        return {"hausdorff_95": None, "surface_distance": None, "surface_dice": within}
    quantiles = [np.percentile(each, _ROBUST) for each in (distances.of_truth, distances.of_prediction)]
    return {
        "hausdorff_95": float(max(quantiles)),
        "surface_distance": float(both.mean()),
        "surface_dice": within,
    }


# A distance of one voxel is within a tolerance of one voxel, however both are rounded.
_ROUNDING = 1e-6
