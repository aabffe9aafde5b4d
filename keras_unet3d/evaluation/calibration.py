"""Whether probabilities are what they say: of the voxels that are 0.9 sure nine in ten should be right."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED

_BINS = 15
# Between these a temperature is sought: where few voxels are all right or all wrong, no certainty would be too much or too little.
_COLDEST, _HOTTEST = 0.2, 5.0
# The least probability that counts: float32 has none below about 1e-38, whose logarithm would be infinite.
_LEAST = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Labelled voxels by the probability of their most probable class, in 15 bins of equal width.

    Attributes:
        voxels: how many.
        sureness: the sum of those probabilities.
        right: how many of them have that class.
    """

    voxels: np.ndarray
    sureness: np.ndarray
    right: np.ndarray

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(self.voxels + other.voxels, self.sureness + other.sureness, self.right + other.right)

    @property
    def error(self) -> float | None:
        """The expected calibration error, 0 (honest) to 1; None of no voxels.

        Source: Guo et al. 2017 (arXiv:1706.04599).
        """
        if not self.voxels.sum():
            return None
        return float(np.abs(self.sureness - self.right).sum() / self.voxels.sum())


def calibration(truth: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Count classes and probabilities; voxels whose truth is `UNLABELLED` count nowhere.

    Args:
        truth: classes, of any shape.
        probabilities: of the same shape and one more axis, the classes.
    """
    labelled = truth != UNLABELLED
    top, right = probabilities.max(axis=-1)[labelled], (probabilities.argmax(axis=-1) == truth)[labelled]
    bins = np.minimum((top * _BINS).astype(int), _BINS - 1)
    voxels, sureness, hits = (np.bincount(bins, weights, _BINS) for weights in (None, top, right))
    return Calibration(voxels, sureness, hits)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature at which a network's probabilities explain the truth best: 1 changes nothing, more is less sure.

    Args:
        probabilities: of a network, `(voxels, classes)` or with any axes before the classes.
        truth: classes of the same voxels; those that are `UNLABELLED` count nowhere.

    Returns:
        T, 0.2 to 5, of the largest likelihood of the truth by p ** (1 / T), made to sum to 1: the same as dividing the
        logits by T.

    Raises:
        InputError: arrays that do not fit each other, or nothing labelled.

    Source: temperature scaling, Guo et al. 2017 (arXiv:1706.04599).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if probabilities.shape[:-1] != truth.shape:
        raise InputError(
            f"truth: expected a class for every voxel of the probabilities, {probabilities.shape[:-1]}; found {truth.shape}."
        )
    labelled = truth != UNLABELLED
    if not labelled.any():
        raise InputError("truth: expected labelled voxels to fit a temperature to, found none.")
    logits = np.log(np.maximum(probabilities[labelled], _LEAST, dtype=np.float64))
    right = np.take_along_axis(logits, truth[labelled][:, None].astype(int), axis=1)[:, 0]

    def surprise(log_temperature: float) -> float:
        share = np.exp(-log_temperature)
        return float((logsumexp(share * logits, axis=1) - share * right).mean())

    found = minimize_scalar(surprise, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))
