"""Counts of voxels to IoU, Dice and their like, over the labelled voxels."""

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

    def only(self, classes: np.ndarray) -> "Counts":
        """Return the counts of some classes, true in `classes`, and none of the others."""
        return Counts(self.both * classes, self.predicted * classes, self.truth * classes)


def count(truth: np.ndarray, predicted: np.ndarray, num_classes: int, meanings: np.ndarray | None = None) -> Counts:
    """Count what labels say and what was predicted; voxels whose truth is `UNLABELLED` count nowhere.

    Args:
        truth: labels, of any shape.
        predicted: class numbers of the same shape, or a mask per class, `(..., classes)`.
        num_classes: number of classes.
        meanings: what every label says of every class, `(labels, classes)`: 1 it is, 0 it is not, -1 it may be, so that it does
            not count for the class; None where label n is class n.
    """
    labelled = truth != UNLABELLED
    rows, chosen = truth[labelled].astype(np.int64), predicted[labelled]
    says = np.eye(num_classes, dtype=np.int64) if meanings is None else meanings
    labels = len(says)
    if chosen.ndim == 1:
        cells = np.bincount(rows * num_classes + chosen, minlength=labels * num_classes)
        table = cells.reshape(labels, num_classes)
    else:
        columns = [np.bincount(rows[mask], minlength=labels) for mask in (chosen > 0).T]
        table = np.stack(columns, axis=1)
    voxels = np.bincount(rows, minlength=labels)
    is_class, counts = says == 1, says != -1
    return Counts((table * is_class).sum(axis=0), (table * counts).sum(axis=0), voxels @ is_class)


def figures(counts: Counts, names: tuple[str, ...]) -> dict[str, dict | None]:
    """Return the figures of every class by its name; None for a class that is in neither truth nor prediction.

    They are `"iou"`, `"dice"`, `"sensitivity"` (the share of the truth that was found), `"precision"` (the share of the
    prediction that is right) and `"volume_error"` (relative: 0.1 is a tenth too much, -0.1 too little); what would be
    divided by nothing is None.
    """
    result = {}
    for name, both, predicted, truth in zip(names, counts.both, counts.predicted, counts.truth, strict=True):
        union = predicted + truth - both
        shares = {
            "iou": (both, union),
            "dice": (2 * both, union + both),
            "sensitivity": (both, truth),
            "precision": (both, predicted),
            "volume_error": (predicted - truth, truth),
        }
        by_name = {key: float(part / whole) if whole else None for key, (part, whole) in shares.items()}
        result[name] = by_name if union else None
    return result


def means(by_class: dict[str, dict | None], background: str | None) -> dict[str, float | None]:
    """Return the means of IoU and Dice over the classes that occur, without the background."""
    present = [figure for name, figure in by_class.items() if figure is not None and name != background]
    if not present:
        return {"mean_iou": None, "mean_dice": None}
    return {f"mean_{key}": float(np.mean([figure[key] for figure in present])) for key in ("iou", "dice")}
