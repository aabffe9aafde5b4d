"""What can be made of a network's output: label values, class numbers, probabilities, logits, uncertainty."""

from collections.abc import Callable

import numpy as np

from keras_unet3d.labels import LabelTable
from keras_unet3d.prediction.entropy import entropy


def class_numbers(values: np.ndarray, table: LabelTable | None = None) -> np.ndarray:
    """Return the most probable class of every voxel of `(z, y, x, classes)`."""
    return values.argmax(axis=-1).astype(np.uint8 if values.shape[-1] <= 256 else np.uint16)


def label_values(values: np.ndarray, table: LabelTable | None) -> np.ndarray:
    """Return the raw label value of the most probable class; its number where there is no table."""
    classes = class_numbers(values)
    return classes if table is None else table.to_values(classes)


def _as_they_are(values: np.ndarray, table: LabelTable | None) -> np.ndarray:
    return values


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities `(..., classes)` as logits divided by a temperature would have given them; 1 changes nothing."""
    if temperature == 1:
        return probabilities
    # log p is a network's logit but for a constant, which the sum takes out.
    powers = probabilities ** np.float32(1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


# A box of the network's output `(z, y, x, classes)`, and the label table if there is one -> what is wanted.
OUTPUTS: dict[str, Callable[[np.ndarray, LabelTable | None], np.ndarray]] = {
    "labels": label_values,
    "classes": class_numbers,
    "probabilities": _as_they_are,
    "logits": _as_they_are,
    "uncertainty": lambda values, table: entropy(values),
}
# Those that tell how sure the network is, and of which a temperature makes others.
TEMPERED = ("probabilities", "uncertainty")
