"""Which cleaning of labels helps, and how instances are best cut, found out on volumes that a network was not trained on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.cells import Common, adapted_rand_error, common, matches, renumbered
from keras_unet3d.evaluation.spread import paired_test
from keras_unet3d.geometry import Spacing, triple
from keras_unet3d.segments.cells import USUAL, Cut, Instances, InstanceSettings, voxel_edges
from keras_unet3d.segments.cleaning import ClassCleaning, clean
from keras_unet3d.segments.joining import Contacts
from keras_unet3d.segments.pieces import Pieces

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


@dataclass(frozen=True)
class CutVolume:
    """What instances are cut out of, and the truth.

    Attributes:
        certain: what `segments.cells.evidence` returns.
        truth: instances `(z, y, x)`, 0 for none, `NOT_LABELLED` where nobody said.
        spacing: voxel size, None where it is not known.
    """

    certain: np.ndarray
    truth: np.ndarray
    spacing: Spacing | None


NOT_LABELLED = -1
# Of equally good ones the one nearest to what is usual is taken; figures that differ by less are equally good.
_SMOOTHING, _JOIN_BELOW, _LEAST = (1.0, 2.0), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95), (100, 30, 300)
_DIGITS = 3


def _precision(pairs: Common) -> float:
    return float(matches(pairs).figures["average_precision"] or 0.0)


def _rand(pairs: Common) -> float:
    error = adapted_rand_error(pairs)
    return 0.0 if error is None else 1 - error


# Target -> how good instances are, 0 to 1: where they cover a volume the voxels that belong together count, on a background
# also what is found that is none.
INSTANCE_SCORES: dict[str, tuple[str, Callable[[Common], float]]] = {
    "boundaries": ("1 - adapted Rand error", _rand),
    "cells": ("average precision", _precision),
}


def choose_instances(volumes: Sequence[CutVolume], target: str) -> tuple[InstanceSettings, float]:
    """Return the settings by which instances are best cut, and how good they are, the mean over volumes of `INSTANCE_SCORES`.

    Smoothings are tried with every limit of joining, and then the least size with the best of them.

    Args:
        volumes: that the network was not trained on.
        target: "boundaries" or "cells".
    """
    score = INSTANCE_SCORES[target][1]
    in_pieces = {smoothing: [_InPieces.of(volume, smoothing) for volume in volumes] for smoothing in _SMOOTHING}

    def better(tried: Iterable[InstanceSettings]) -> tuple[InstanceSettings, float]:
        scored = {
            settings: float(np.mean([score(volume.joined(settings)) for volume in in_pieces[settings.smoothing]]))
            for settings in tried
        }
        # The first of those that are as good.
        return max(scored.items(), key=lambda item: round(item[1], _DIGITS))

    usual = USUAL[target].join_below
    limits = sorted(_JOIN_BELOW, key=lambda below: abs(below - usual))
    best, _ = better(
        InstanceSettings(smoothing=smoothing, join_below=below) for smoothing, below in product(_SMOOTHING, limits)
    )
    return better(replace(best, least=least) for least in _LEAST)


@dataclass(frozen=True)
class _InPieces:
    """A volume in pieces, which several settings join in their own way."""

    pieces: Pieces
    contacts: Contacts
    pairs: Common

    @staticmethod
    def of(volume: CutVolume, smoothing: float) -> "_InPieces":
        shape = triple(volume.truth.shape)
        settings = InstanceSettings(smoothing=smoothing)
        cut = Cut(shape, volume.certain.__getitem__, voxel_edges(volume.spacing), settings)
        numbers, pieces, contacts = cut.in_pieces()
        return _InPieces(pieces, contacts, common(volume.truth, numbers, (NOT_LABELLED,)))

    def joined(self, settings: InstanceSettings) -> Common:
        """Return what the instances of the settings have in common with the truth."""
        return renumbered(self.pairs, Instances.of([self.pieces], [self.contacts], settings))
