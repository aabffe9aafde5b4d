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


def slices_to_annotate(
    uncertainty: np.ndarray,
    probabilities: np.ndarray,
    labelled: np.ndarray,
    count: int,
    axes: Sequence[int] = (0, 1, 2),
    spacing: Sequence[float] | None = None,
) -> list[Suggestion]:
    """Return the slices that `suggest` suggests: all classes weigh alike, and chance has a part while few are annotated.

    Args:
        uncertainty: `(z, y, x)`, 0 or more.
        probabilities: of the classes, `(z, y, x, classes)`.
        labelled: `(z, y, x)` booleans.
        count: how many.
        axes: across which slices are taken.
        spacing: voxel size (z, y, x), any unit.
    """
    worth = weighed_by_class(uncertainty * ~labelled, probabilities)
    return suggest_slices(worth, labelled, count, axes, spacing, factors=decaying_noise(labelled))


def suggest_slices(
    uncertainty: np.ndarray,
    labelled: np.ndarray,
    count: int,
    axes: Sequence[int] = (0, 1, 2),
    spacing: Sequence[float] | None = None,
    reach: float = REACH,
    factors: Sequence[np.ndarray] | None = None,
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
        factors: of the scores, an array per axis with one for each plane; None for 1 everywhere.
    """
    voxel = np.ones(3) if spacing is None else np.divide(spacing, min(spacing))
    left = uncertainty * (1 - _resolved(_distance(labelled, voxel), reach))
    # A plane that is annotated already would still be the best one where it has unsure neighbours.
    free = [~annotated for annotated in _annotated(labelled)]
    factors = [np.ones(size) for size in labelled.shape] if factors is None else factors
    suggestions: list[Suggestion] = []
    for _ in range(count):
        planes = (_best_plane(left, axis, voxel[axis] / reach, free[axis] * factors[axis]) for axis in axes)
        rank, best = max(planes, key=lambda ranked: ranked[0])
        if not rank > 0:
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


def decaying_noise(labelled: np.ndarray) -> list[np.ndarray]:
    """Return random factors of the planes' scores, an array per axis, which tend to 1 the more slices are annotated.

    A network that has seen few slices is unsure in the wrong places, and all that it is unsure of may lie together. So
    the logarithm of a score has Gumbel noise of the size 2^(-annotated slices / 3), which halves with every round of one slice
    per axis. Without an annotated slice the network has learnt elsewhere, and there is none. The same labels have the
    same noise. Source: the noise of ClaSP PE (arXiv:2601.13677).

    Args:
        labelled: `(z, y, x)` booleans.
    """
    annotated = sum(int(planes.sum()) for planes in _annotated(labelled))
    rng, size = np.random.default_rng(annotated), 2.0 ** (-annotated / 3) if annotated else 0.0
    return [np.exp(size * rng.gumbel(size=planes)) for planes in labelled.shape]


def _annotated(labelled: np.ndarray) -> list[np.ndarray]:
    """Return which planes across each axis are labelled throughout."""
    return [labelled.all(axis=_others(axis)) for axis in range(3)]


def _resolved(distance: np.ndarray, reach: float) -> np.ndarray:
    return np.exp(-((distance / reach) ** 2)).astype(np.float32)


def _distance(labelled: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    if not labelled.any():
        return np.full(labelled.shape, np.inf, np.float32)
    return distance_transform_edt(~labelled, sampling=spacing).astype(np.float32)


def _best_plane(left: np.ndarray, axis: int, step: float, factors: np.ndarray) -> tuple[float, Suggestion]:
    """Return the best plane across an axis behind what it is ranked by, its score times its factor.

    `step` is the distance of two planes in units of the reach; a plane of the factor 0 is not taken.
    """
    means = left.mean(axis=_others(axis), dtype=np.float64)
    planes = np.arange(len(means))
    around = _resolved((planes[:, None] - planes) * step, 1.0)
    scores = around @ means
    plane = int(np.argmax(factors * scores))
    return float(factors[plane] * scores[plane]), Suggestion(axis, plane, float(scores[plane]))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
