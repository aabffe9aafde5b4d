"""Which voxels count: labels and sample weights brought into the shape of the prediction's voxels."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_unet3d.errors import InputError, refuse, shown
from keras_unet3d.machine.tensors import Tensor, concrete, shape_of


def labelled_voxels(
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor | None = None,
    ignore_label: int | None = None,
    count: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return labels (int32) and weights (float32), shaped like `y_pred` without its channels.

    Voxels that do not count (weight 0, or `ignore_label`) have label 0 and weight 0, whatever they held.

    Args:
        y_true: integer labels `(batch, z, y, x)` or `(batch, z, y, x, 1)`.
        y_pred: predictions `(batch, z, y, x, classes)`, of a float type.
        sample_weight: weights of the labels' shape, `None` for 1 everywhere.
        ignore_label: a label that counts nowhere.
        count: how many labels there are; None for one per class.

    Raises:
        InputError: labels or weights of any other shape, or that are no numbers; where they can be read, outside of a
            graph, also weights that are not finite or below 0, and labels of other voxels that are no class.
    """
    labels = _per_voxel("y_true", y_true, y_pred)
    weights = None if sample_weight is None else _per_voxel("sample_weight", sample_weight, y_pred)
    refuse(_value_faults(y_true, sample_weight, count or y_pred.shape[-1], ignore_label))
    labels = ops.cast(labels, "int32")
    weights = ops.ones_like(labels, dtype="float32") if weights is None else ops.cast(weights, "float32")
    labelled = weights > 0
    if ignore_label is not None:
        labelled = ops.logical_and(labelled, ops.not_equal(labels, ignore_label))
    return ops.where(labelled, labels, 0), ops.where(labelled, weights, 0.0)


def predictions(y_pred: Tensor) -> Tensor:
    """Return predictions as a tensor; raises `InputError` where they are no numbers, or not some per voxel."""
    y_pred = numbers("y_pred", y_pred)
    if len(y_pred.shape) < 2:
        raise InputError(f"y_pred: expected shape (batch, z, y, x, classes), found {tuple(y_pred.shape)}.")
    return y_pred


def numbers(name: str, values: Tensor) -> Tensor:
    """Return `values` as a tensor; raises `InputError` where they are no real numbers. `name` is what a message calls them."""
    try:
        tensor = ops.convert_to_tensor(values)
        kind = keras.backend.standardize_dtype(tensor.dtype)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"{name}: expected an array of numbers, found {shown(values)}.") from error
    if not kind.startswith(("int", "uint", "float", "bfloat", "bool")):
        raise InputError(f"{name}: expected an array of numbers, found one of {kind}.")
    return tensor


def _value_faults(
    y_true: Tensor, sample_weight: Tensor | None, count: int | None, ignore_label: int | None
) -> Iterator[str]:
    """Yield a sentence on what can be read of labels and weights and is wrong where it counts."""
    labels, weights = concrete(y_true), np.float32(1) if sample_weight is None else concrete(sample_weight)
    if labels is None or weights is None or count is None:
        return
    labels, weights = np.ravel(labels), np.ravel(weights)
    counts = np.bool_(True) if ignore_label is None else labels != ignore_label
    wrong = counts & ~((weights >= 0) & (weights < np.inf))
    if wrong.any():
        yield f"sample_weight: expected finite numbers of at least 0, found {weights[wrong][0]}."
    is_class = (labels >= 0) & (labels < count)
    if labels.dtype.kind not in "biu":
        is_class &= labels % 1 == 0
    wrong = counts & (weights > 0) & ~is_class
    if wrong.any():
        yield (
            f"y_true: expected whole numbers from 0 to {count - 1}, the classes, where the weight is above 0; found "
            f"{labels[wrong][0]}."
        )


def _per_voxel(name: str, values: Tensor, y_pred: Tensor) -> Tensor:
    """Return labels or weights in the shape of `y_pred` without its channels; `name` is what a message calls them."""
    values = numbers(name, values)
    expected, shape = tuple(y_pred.shape[:-1]), shape_of(values)
    if shape is None:
        # So Keras traces labels that have another rank than those before; the reshape checks their number.
        shape = expected
    if len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    fits = len(shape) == len(expected) and all(
        size == wanted or None in (size, wanted) for size, wanted in zip(shape, expected, strict=True)
    )
    if not fits:
        raise InputError(
            f"{name}: expected one value per voxel, shape {expected} or {(*expected, 1)}; "
            f"found {tuple(values.shape)} for predictions of shape {tuple(y_pred.shape)}."
        )
    # Sizes that are unknown while a graph is traced are checked by this reshape when it runs.
    return ops.reshape(values, ops.shape(y_pred)[:-1])
