"""How well instances agree with the truth: which of them are found, and which voxels belong together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError

# An instance is found where the overlap with a predicted one is at least this share of both together.
THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)


@dataclass(frozen=True)
class Matches:
    """Which instances of a truth are found, over one volume or several: they can be added.

    Attributes:
        truth, predicted: instances.
        found: of the truth, per threshold of `THRESHOLDS`.
        overlap: intersection over union, summed over those found at the first threshold.
    """

    truth: int
    predicted: int
    found: np.ndarray
    overlap: float

    def __add__(self, other: "Matches") -> "Matches":
        return Matches(
            self.truth + other.truth,
            self.predicted + other.predicted,
            self.found + other.found,
            self.overlap + other.overlap,
        )

    @property
    def figures(self) -> dict[str, float | int | None]:
        """Average precision at 0.5, its mean over 0.5 to 0.95, F1 and panoptic quality at 0.5; None where there is nothing.

        Source: average precision and F1 as StarDist has them (Schmidt et al. 2018, arXiv:1806.03535), panoptic quality of
        Kirillov et al. 2019 (arXiv:1801.00868).
        """
        both = self.truth + self.predicted
        if not both:
            return dict.fromkeys(("average_precision_50", "average_precision", "f1", "panoptic_quality")) | self._counts
        precisions = self.found / (both - self.found)
        return {
            "average_precision_50": float(precisions[0]),
            "average_precision": float(precisions.mean()),
            "f1": float(2 * self.found[0] / both),
            "panoptic_quality": float(2 * self.overlap / both),
        } | self._counts

    @property
    def _counts(self) -> dict[str, float | int | None]:
        return {"found": int(self.found[0]), "instances": self.truth, "predicted_instances": self.predicted}


@dataclass(frozen=True)
class Common:
    """The voxels that instances of a truth and of a prediction have in common, where the truth is labelled.

    Attributes:
        truth, predicted: numbers, an entry per pair that has voxels in common; 0 is none.
        voxels: in common.
        elsewhere: predicted number -> voxels where the truth is not labelled.
    """

    truth: np.ndarray
    predicted: np.ndarray
    voxels: np.ndarray
    elsewhere: dict[int, int]


def common(truth: np.ndarray, predicted: np.ndarray, unlabelled: Iterable[int] = (), background: int = 0) -> Common:
    """Return what instances have in common.

    Args:
        truth: instances, integers of any shape.
        predicted: instances, 0 for none, integers of the same shape.
        unlabelled: values of the truth that count nowhere.
        background: value of the truth that is no instance.

    Raises:
        InputError: other shapes, or numbers that are not whole.
    """
    if truth.shape != predicted.shape:
        raise InputError(f"instances: expected volumes of one shape, found {truth.shape} and {predicted.shape}.")
    if not {truth.dtype.kind, predicted.dtype.kind} <= set("iub"):
        raise InputError(f"instances: expected whole numbers, found {truth.dtype} and {predicted.dtype}.")
    labelled = ~np.isin(truth, [*unlabelled])
    values, first = np.unique(truth[labelled], return_inverse=True)
    numbers, second = np.unique(predicted[labelled], return_inverse=True)
    codes, voxels = np.unique(first.astype(np.int64) * max(len(numbers), 1) + second, return_counts=True)
    row, column = np.divmod(codes, max(len(numbers), 1))
    ids = values[row].astype(np.int64)
    outside, held = np.unique(predicted[~labelled], return_counts=True)
    # The background may have any value; no instance has 0 then.
    ids = np.where(values[row] == background, 0, np.where(ids == 0, -1, ids))
    return Common(
        ids, numbers[column].astype(np.int64), voxels, dict(zip(outside.tolist(), held.tolist(), strict=True))
    )


def renumbered(pairs: Common, numbers: Callable[[np.ndarray], np.ndarray]) -> Common:
    """Return what is in common where predicted instances are given other numbers, several of them perhaps the same one."""
    outside = np.array([*pairs.elsewhere], np.int64)
    elsewhere: dict[int, int] = {}
    for number, voxels in zip(numbers(outside).tolist(), pairs.elsewhere.values(), strict=True):
        elsewhere[number] = elsewhere.get(number, 0) + voxels
    both, place = np.unique(
        np.stack([pairs.truth, numbers(pairs.predicted).astype(np.int64)]), axis=1, return_inverse=True
    )
    return Common(both[0], both[1], np.bincount(place.ravel(), pairs.voxels).astype(np.int64), elsewhere)


def matches(pairs: Common) -> Matches:
    """Return which instances are found: those that share enough voxels with a predicted one.

    A predicted instance that is found nowhere counts where at least half of it is labelled.
    """
    truth, places = np.unique(pairs.truth, return_inverse=True)
    predicted, columns = np.unique(pairs.predicted, return_inverse=True)
    of_truth, of_predicted = np.bincount(places, pairs.voxels), np.bincount(columns, pairs.voxels)
    overlap = pairs.voxels / (of_truth[places] + of_predicted[columns] - pairs.voxels)
    enough = (pairs.truth != 0) & (pairs.predicted != 0) & (overlap >= THRESHOLDS[0])
    # Two that share just half with one: only the first is found. With more than half there is no second.
    order = np.flatnonzero(enough)[np.argsort(-overlap[enough], kind="stable")]
    order = order[np.sort(np.unique(places[order], return_index=True)[1])]
    order = order[np.sort(np.unique(columns[order], return_index=True)[1])]
    best = overlap[order]
    elsewhere = np.array([pairs.elsewhere.get(int(number), 0) for number in predicted])
    counted = (predicted != 0) & (of_predicted >= elsewhere)
    counted[columns[order]] = True
    found = np.array([(best >= threshold).sum() for threshold in THRESHOLDS])
    return Matches(int((truth != 0).sum()), int(counted.sum()), found, float(best.sum()))


def adapted_rand_error(pairs: Common) -> float | None:
    """Return the adapted Rand error, 0 (equal) to 1, over the voxels of the truth's instances; None where it has none.

    Source: Arganda-Carreras et al. 2015 (doi:10.3389/fnana.2015.00142), as scikit-image has it.
    """
    held, of_truth, of_predicted = _tables(pairs)
    if not held.sum():
        return None
    # Pairs of two voxels that are together, in both, in the truth and in the prediction.
    both, one, other = (float((part * (part - 1.0)).sum()) for part in (held, of_truth, of_predicted))
    return 1 - 2 * both / (one + other) if one + other else 0.0


def variation_of_information(pairs: Common) -> tuple[float, float] | None:
    """Return the conditional entropies of splits and of merges in bits, over the voxels of the truth's instances.

    The first is 0 where no instance of the truth is split, the second where none is merged with another one; None where
    the truth has no instances.

    Source: Meila 2007 (doi:10.1016/j.jmva.2006.11.013), as scikit-image has it.
    """
    held, of_truth, of_predicted = _tables(pairs)
    if not held.sum():
        return None
    both, one, other = (_entropy(part / held.sum()) for part in (held, of_truth, of_predicted))
    return max(both - one, 0.0), max(both - other, 0.0)


def _tables(pairs: Common) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return voxels of pairs, of instances of the truth, and of what is predicted in these."""
    inside = pairs.truth != 0
    held = pairs.voxels[inside]
    return held, *(
        np.bincount(np.unique(side[inside], return_inverse=True)[1], held) for side in (pairs.truth, pairs.predicted)
    )


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log2(shares)).sum())
