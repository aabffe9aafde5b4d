"""Class weights: given by name or value, or balanced by the labelled voxels."""

import math

import numpy as np

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.labels.table import LabelTable

BALANCED = "balanced"
# The loss is computed in float32.
_MOST = 1e6


def check_class_weights(text: str) -> dict[str, float] | None:
    """Return the weights by name or value in a text like "lumen=3,background=0.5"; None for "balanced".

    Raises:
        InputError: anything else.
    """
    if text == BALANCED:
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not equals or not name or not 0 <= weight <= _MOST or name in weights:
            raise InputError(
                f"class_weights: expected {BALANCED}, or every class once with a number from 0 to {_MOST:g}, like "
                f"background=0.5,lumen=3; found {part.strip()!r}."
            )
        weights[name] = weight
    return weights


def class_weights(text: str | None, table: LabelTable, counts: np.ndarray) -> list[float] | None:
    """Return one weight per class, or per label where these are others, None for 1 everywhere.

    Args:
        text: "balanced", weights by name or raw value (a class not named has 1), or None.
        table: the classes.
        counts: labelled voxels per class, or label, of the training volumes.

    "balanced" gives every class the same influence on the loss, the weights' mean over the labelled voxels
    being 1: less for the frequent background, more for rare classes (Çiçek et al. 2016, section 3.2).

    Raises:
        InputError: a name that is no class, or weights that leave nothing.
    """
    if text is None:
        return None
    given = check_class_weights(text)
    if given is None:
        return _balanced(counts)
    numbers = {str(value): number for number, value in enumerate(table.raw_values)}
    numbers |= {name: number for number, name in enumerate(table.label_names)}
    weights = [1.0] * table.num_labels
    if len({numbers.get(name, name) for name in given}) < len(given):
        raise InputError(f"class_weights: expected every class once, by its name or its value; found {text!r}.")
    for name, weight in given.items():
        if name not in numbers:
            raise InputError(
                f"class_weights: expected classes of {table.shown()}; found {name!r}.{did_you_mean(name, numbers)}"
            )
        weights[numbers[name]] = weight
    # What may be of several classes looks like background, and weighs as much.
    groups = range(table.num_labels - len(table.partial), table.num_labels)
    for number in groups:
        if table.label_names[number] not in given:
            weights[number] = weights[table.background]
    if not np.dot(weights, counts) > 0:
        raise InputError(f"class_weights: expected a weight above 0 for a class that is labelled, found {text!r}.")
    return weights


def _balanced(counts: np.ndarray) -> list[float]:
    """Return weights by which all classes that are labelled have the same influence; 1 for a class that is not."""
    counts = np.asarray(counts, float)
    present = counts > 0
    share = counts.sum() / max(present.sum(), 1)
    return np.where(present, share / np.where(present, counts, 1), 1.0).tolist()
