"""Which cleaning of labels helps, found out on volumes that a network was not trained on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.spread import paired_test
from keras_unet3d.segments.cleaning import ClassCleaning, clean

# Steps of which at most one is taken, after one another: pieces go before holes are filled.
_ALTERNATIVES: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"keep_largest": True}, *({"remove_small": voxels} for voxels in (10, 30, 100, 300, 1000, 3000))),
    ({"fill_holes": True},),
)
# A step must raise the mean Dice by what `evaluate` shows, the fourth digit, and on so many volumes that chance would rarely do
# it: five that change, and all for the better, are the fewest. Most volumes need no cleaning, so those it leaves as they are
# do not count against it.
_LEAST_GAIN, _LARGEST_P = 0.0001, 0.05
FEWEST_VOLUMES = 5


def choose_cleaning(
    truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], background: int = 0
) -> tuple[ClassCleaning, ...]:
    """Return the cleaning of every class that raises its mean Dice over volumes by more than chance does.

    Keeping the largest piece, removing small ones (of 10 to 3000 voxels) and filling holes are tried per class. What is
    kept raises the mean Dice of the class by 0.0001 or more, with p of 0.05 or less in a one-sided Wilcoxon signed-rank test
    over the volumes that it changes.

    Args:
        truth: labels `(z, y, x)` of volumes that are labelled throughout and that the network was not trained on.
        predicted: the network's labels of the same volumes.
        background: the value that cleaning makes of what it removes.

    Returns:
        A `ClassCleaning` per class that is to be cleaned; empty where nothing helps, and of fewer than five volumes.

    Raises:
        InputError: lists or arrays that do not belong together.
    """
    if [labels.shape for labels in truth] != [labels.shape for labels in predicted]:
        raise InputError("predicted: expected a volume for each of `truth`, of the same shape; found others.")
    values = sorted({int(value) for labels in (*truth, *predicted) for value in np.unique(labels)} - {background})
    chosen = [_chosen(value, truth, predicted, background) for value in values]
    return tuple(step for step in chosen if step != ClassCleaning(value=step.value))


def _chosen(value: int, truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], background: int) -> ClassCleaning:
    """Return the best cleaning of one class."""

    def dice(step: ClassCleaning) -> np.ndarray:
        pairs = zip(truth, predicted, strict=True)
        return np.array([_dice(labels == value, clean(found, [step], background) == value) for labels, found in pairs])

    best = ClassCleaning(value=value)
    reached = dice(best)
    for alternatives in _ALTERNATIVES:
        tried = {step: dice(step) for step in (replace(best, **change) for change in alternatives)}
        gains = {step: float(now.mean() - reached.mean()) for step, now in tried.items() if _helps(now - reached)}
        if gains:
            best = max(gains, key=gains.__getitem__)
            reached = tried[best]
    return best


def _helps(gains: np.ndarray) -> bool:
    return bool(gains.mean() >= _LEAST_GAIN) and paired_test(gains, "greater") <= _LARGEST_P


def _dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the Dice of two masks; 1 of two empty ones, so that it counts for something to remove what should not be."""
    voxels = truth.sum() + predicted.sum()
    return float(2 * (truth & predicted).sum() / voxels) if voxels else 1.0
