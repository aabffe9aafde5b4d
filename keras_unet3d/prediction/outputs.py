"""What can be made of a network's output: label values, class numbers, masks, probabilities, logits, uncertainty."""

from collections.abc import Callable

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.prediction.entropy import entropy

# A voxel is of a class that may overlap with others where its probability is above this.
_IS = 0.5


def masks(values: np.ndarray, table: LabelTable | None = None) -> np.ndarray:
    """Return 1 where a voxel is of a class, else 0, uint8 `(z, y, x, classes)`: where classes overlap it may be of several."""
    if table is None or table.overlapping:
        return (values > _IS).astype(np.uint8)
    return np.eye(values.shape[-1], dtype=np.uint8)[values.argmax(axis=-1)]


def class_numbers(values: np.ndarray, table: LabelTable | None = None) -> np.ndarray:
    """Return the most probable class of every voxel of `(z, y, x, classes)`; where classes overlap as `LabelTable.painted`."""
    if table is not None and table.overlapping:
        return table.painted(masks(values, table) > 0)
    if values.shape[-1] == 1:
        raise InputError(
            "network: expected two classes or more, the most probable of which is the label, found one; return (1 - p, p) in "
            "the place of p, or take `output=probabilities`."
        )
    return values.argmax(axis=-1).astype(np.uint8 if values.shape[-1] <= 256 else np.uint16)


def label_values(values: np.ndarray, table: LabelTable | None) -> np.ndarray:
    """Return the raw label value of the most probable class, or its number where there is no table; masks where files have these."""
    if table is not None and table.by_channel:
        return masks(values, table)
    classes = class_numbers(values, table)
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
    "masks": masks,
    "probabilities": _as_they_are,
    "logits": _as_they_are,
    "uncertainty": lambda values, table: entropy(values),
}
# Those that tell how sure the network is, and of which a temperature makes others.
TEMPERED = ("probabilities", "uncertainty")
