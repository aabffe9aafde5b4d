"""Counts of voxels to IoU and Dice, over the labelled voxels."""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.labels import UNLABELLED


@dataclass(frozen=True)
class Counts:
    """Voxels per class, int64: in truth and prediction, in the prediction, in the truth."""

    both: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.both + other.both, self.predicted + other.predicted, self.truth + other.truth)


def count(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> Counts:
    """Count two arrays of classes; voxels whose truth is `UNLABELLED` count nowhere."""
    labelled = truth != UNLABELLED
    truth, predicted = truth[labelled].astype(np.int64), predicted[labelled].astype(np.int64)
    confusion = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    return Counts(np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1))


def figures(counts: Counts, names: tuple[str, ...]) -> dict[str, dict | None]:
    """Return IoU and Dice by class name; None for a class that is in neither truth nor prediction."""
    result = {}
    for name, both, predicted, truth in zip(names, counts.both, counts.predicted, counts.truth, strict=True):
        union = predicted + truth - both
        result[name] = {"iou": float(both / union), "dice": float(2 * both / (union + both))} if union else None
    return result


def means(by_class: dict[str, dict | None], background: str | None) -> dict[str, float | None]:
    """Return the means of IoU and Dice over the classes that occur, without the background."""
    present = [figure for name, figure in by_class.items() if figure is not None and name != background]
    if not present:
        return {"mean_iou": None, "mean_dice": None}
    return {f"mean_{key}": float(np.mean([figure[key] for figure in present])) for key in ("iou", "dice")}
