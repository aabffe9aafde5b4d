"""Where a network is unsure, and which slices would teach it most: arrays in, planes out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Distance, in voxels of the finest axis, within which an annotated slice tells about its neighbours.
REACH = 8.0


@dataclass(frozen=True)
class Suggestion:
    """A plane worth annotating: across which axis (0 z, 1 y, 2 x), its index, and what it would resolve.

    `score` is the uncertainty that goes away, summed over the planes around and averaged over the plane.
    """

    axis: int
    plane: int
    score: float


def suggest_slices(
    uncertainty: np.ndarray,
    labelled: np.ndarray,
    count: int,
    axes: Sequence[int] = (0, 1, 2),
    spacing: Sequence[float] | None = None,
    reach: float = REACH,
) -> list[Suggestion]:
    """Return the slices that would help most, the best one first.

    A slice is taken to resolve the share exp(-(distance / reach)^2) of the uncertainty around it, as the labels that
    there are have done. One after the other, the slice that resolves most per voxel to paint is taken.

    Args:
        uncertainty: `(z, y, x)`, 0 or more.
        labelled: `(z, y, x)` booleans.
        count: how many.
        axes: across which slices are taken.
        spacing: voxel size (z, y, x), any unit.
        reach: see above, voxels of the finest axis.
    """
    voxel = np.ones(3) if spacing is None else np.divide(spacing, min(spacing))
    left = uncertainty * (1 - _resolved(_distance(labelled, voxel), reach))
    # A plane that is annotated already would still be the best one where it has unsure neighbours.
    free = [~labelled.all(axis=_others(axis)) for axis in range(3)]
    suggestions: list[Suggestion] = []
    for _ in range(count):
        planes = (_best_plane(left, axis, voxel[axis] / reach, free[axis]) for axis in axes)
        best = max(planes, key=lambda plane: plane.score)
        if not best.score > 0:
            break
        suggestions.append(best)
        free[best.axis][best.plane] = False
        away = np.abs(np.arange(left.shape[best.axis]) - best.plane) * voxel[best.axis]
        left *= (1 - _resolved(away, reach)).reshape([-1 if axis == best.axis else 1 for axis in range(3)])
    return suggestions


def weighed_by_class(uncertainty: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the uncertainty `(z, y, x)` weighed so that every class has the same sum of it, however rare the class is.

    Source: the stratification by class of ClaSP PE (arXiv:2601.13677), here with the probabilities of the classes
    `(z, y, x, classes)` as shares instead of the predicted class.
    """
    sums = np.einsum("zyx,zyxc->c", uncertainty, probabilities, dtype=np.float64)
    weights = np.divide(sums.sum() / len(sums), sums, out=np.zeros_like(sums), where=sums > 0)
    return uncertainty * (probabilities @ weights.astype(np.float32))


def _resolved(distance: np.ndarray, reach: float) -> np.ndarray:
    return np.exp(-((distance / reach) ** 2)).astype(np.float32)


def _distance(labelled: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    if not labelled.any():
        return np.full(labelled.shape, np.inf, np.float32)
    return distance_transform_edt(~labelled, sampling=spacing).astype(np.float32)


def _best_plane(left: np.ndarray, axis: int, step: float, free: np.ndarray) -> Suggestion:
    """`step` is the distance of two planes in units of the reach, `free` says which planes may be taken."""
    means = left.mean(axis=_others(axis), dtype=np.float64)
    planes = np.arange(len(means))
    around = _resolved((planes[:, None] - planes) * step, 1.0)
    scores = np.where(free, around @ means, 0.0)
    plane = int(np.argmax(scores))
    return Suggestion(axis, plane, float(scores[plane]))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
