"""Which voxels count: labels and sample weights brought into the shape of the prediction's voxels."""

from keras import ops

from keras_unet3d.machine.tensors import Tensor


def labelled_voxels(
    y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None, ignore_label: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return labels (int32) and weights (float32), shaped like `y_pred` without its channels.

    Voxels that do not count (weight 0, or `ignore_label`) have label 0 and weight 0, whatever they held.

    Args:
        y_true: integer labels `(batch, z, y, x)` or `(batch, z, y, x, 1)`.
        y_pred: predictions `(batch, z, y, x, classes)`.
        sample_weight: weights of the labels' shape, `None` for 1 everywhere.
        ignore_label: a label that counts nowhere.

    Raises:
        ValueError: labels or weights of any other shape.
    """
    labels = ops.cast(_per_voxel("y_true", y_true, y_pred), "int32")
    if sample_weight is None:
        weights = ops.ones_like(labels, dtype="float32")
    else:
        weights = ops.cast(_per_voxel("sample_weight", sample_weight, y_pred), "float32")
    labelled = weights > 0
    if ignore_label is not None:
        labelled = ops.logical_and(labelled, ops.not_equal(labels, ignore_label))
    return ops.where(labelled, labels, 0), ops.where(labelled, weights, 0.0)


def _per_voxel(name: str, values: Tensor, y_pred: Tensor) -> Tensor:
    """Return labels or weights in the shape of `y_pred` without its channels; `name` is what a message calls them."""
    values = ops.convert_to_tensor(values)
    expected, shape = tuple(y_pred.shape[:-1]), tuple(values.shape)
    if len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    fits = len(shape) == len(expected) and all(
        size == wanted or None in (size, wanted) for size, wanted in zip(shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name}: expected one value per voxel, shape {expected} or {(*expected, 1)}; "
            f"found {tuple(values.shape)} for predictions of shape {tuple(y_pred.shape)}."
        )
    # Sizes that are unknown while a graph is traced are checked by this reshape when it runs.
    return ops.reshape(values, ops.shape(y_pred)[:-1])
