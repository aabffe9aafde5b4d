"""The sample-weighted sparse cross-entropy (Çiçek et al. 2016, section 3.2), optionally with soft Dice."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.machine import devices
from keras_unet3d.machine.tensors import Tensor
from keras_unet3d.network.labelled_voxels import labelled_voxels, predictions
from keras_unet3d.network.meanings import Meanings, checked_meanings, meanings_of, said_of

# Smaller probabilities count as this one, the smallest float32 whose reciprocal is finite.
_TINY = 1.2e-38
# The logarithm of a probability that counts for nothing in a sum.
_NOTHING = -1e9


@keras.saving.register_keras_serializable(package="keras_unet3d")
class SampleWeightedSparseCrossentropy(keras.losses.Loss):
    """Cross-entropy over the labelled voxels: `sum(w * c[y] * l) / sum(w * c[y])`, float32.

    Called as `loss(y_true, y_pred, sample_weight)`: integer labels `(batch, z, y, x[, 1])`, predictions
    `(batch, z, y, x, classes)`, weights of the labels' shape. Voxels of weight 0 or of `ignore_label` have no
    part: neither their label (any value) nor a NaN that is predicted for them reaches value or gradient. Where nothing
    is labelled the loss is 0.

    What is wrong at other voxels is refused where it can be read: labels that are no class, weights below 0 or not finite.
    A graph, in which Keras trains, cannot read: there a label that is no class makes the loss NaN, which stops `fit` with
    a sentence, a fraction of a label is cut off, and a weight that is below 0 or NaN counts as 0.

    Args:
        from_logits: whether `y_pred` are logits instead of probabilities.
        class_weights: one factor per class, applied to the weights, the denominator's included.
        ignore_label: a label that counts nowhere.
        dice_weight: factor of a soft Dice loss that is added: 1 - the mean of `2 * sum(p * g) / sum(p + g)`
            over the classes present among the labelled voxels of the batch (Milletari et al. 2016, with
            plain sums as in nnU-Net).
        normalize: whether the weights are divided by `sum(w * c[y])`; False where whoever made them has done that, over
            several batches whose gradients are added.
        meanings: what every label says of every class, `(labels, classes)`: 1 it is, 0 it is not, -1 it may be. `None` where
            label n is class n. A label that may be one of several classes costs `-log` of the sum of their probabilities
            (the marginal loss, Shi et al. 2021), and soft Dice leaves the voxel out for these classes. `class_weights` have
            then one factor per label.
        overlapping: whether a voxel may have several classes or none, each with a sigmoid of its own: l is the mean over the
            classes of the binary cross-entropy, those left out that the voxel may be.

    Under replicas (`tf.distribute`) all sums are those of the whole batch, so that it does not matter which replica has
    the labelled voxels; each returns its share of the loss, as Keras' own losses do.

    Raises:
        InputError: a `ValueError`: labels or weights of another shape, or with values that are none; `class_weights` that are
            not one per class.
    """

    @validated
    def __init__(
        self,
        from_logits: bool = False,
        class_weights: Sequence[float] | None = None,
        ignore_label: int | None = None,
        dice_weight: float = 0.0,
        normalize: bool = True,
        meanings: Meanings | None = None,
        overlapping: bool = False,
        name: str | None = "sample_weighted_sparse_crossentropy",
    ):
        # The reduction is this class' own: Keras' would divide by all voxels.
        super().__init__(name=name, reduction="none", dtype="float32")
        self.from_logits = from_logits
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]
        self.ignore_label = ignore_label
        self.dice_weight = dice_weight
        self.normalize = normalize
        self.meanings = checked_meanings(meanings)
        self.overlapping = overlapping
        if self.class_weights is not None and not all(weight >= 0 for weight in self.class_weights):
            raise InputError(f"class_weights: expected numbers of at least 0, found {class_weights}.")
        if ignore_label is not None and not -(2**31) <= ignore_label < 2**31:
            raise InputError(f"ignore_label: expected a label, a whole number of 32 bits; found {ignore_label}.")
        if dice_weight < 0:
            raise InputError(f"dice_weight: expected a number of at least 0, found {dice_weight}.")

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return self.call(y_true, y_pred, sample_weight) / devices.replicas()

    def call(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.cast(predictions(y_pred), "float32")
        classes = y_pred.shape[-1]
        table = meanings_of(classes, self.meanings)
        labels, weights = labelled_voxels(y_true, y_pred, sample_weight, self.ignore_label, len(table))
        labelled = ops.expand_dims(weights > 0, -1)
        # A constant stands in before anything is computed, so that no NaN can reach a gradient.
        y_pred = ops.where(labelled, y_pred, 1.0 / classes)
        is_class, may_be, known = self._said_of(labels, table)
        of_voxels = _OVERLAPPING[self.overlapping](y_pred, is_class, may_be, self.from_logits)
        crossentropy = ops.where(known, of_voxels, float("nan"))
        class_weighted = weights * self._class_factors(labels, len(table))
        loss, weight = _totals(ops.sum(class_weighted * crossentropy), ops.sum(class_weighted))
        if self.normalize:
            loss = _ratio(loss, weight)
        if self.dice_weight:
            probabilities = _ACTIVATIONS[self.overlapping](y_pred) if self.from_logits else y_pred
            counts = labelled if may_be is None else ops.logical_and(labelled, ops.logical_not(may_be))
            loss += self.dice_weight * _dice_loss(probabilities, is_class, counts)
        return loss

    def _said_of(self, labels: Tensor, table: np.ndarray) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return whether voxels are, and may be, of every class, and whether they have a label; None where none may be."""
        if self.meanings is not None:
            return said_of(labels, table)
        # The usual case without a table, which takes time.
        is_class = ops.equal(ops.expand_dims(labels, -1), ops.arange(len(table), dtype="int32"))
        return is_class, None, ops.any(is_class, axis=-1)

    def _class_factors(self, labels: Tensor, count: int) -> Tensor:
        """Return the factor of every voxel's class, or label, of which there are so many."""
        if self.class_weights is None:
            return 1.0
        if len(self.class_weights) != count:
            raise InputError(
                f"class_weights: expected one per class, {count}; found {len(self.class_weights)}: {self.class_weights}."
            )
        return ops.take(ops.convert_to_tensor(self.class_weights, dtype="float32"), labels, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {
            "from_logits": self.from_logits,
            "class_weights": self.class_weights,
            "ignore_label": self.ignore_label,
            "dice_weight": self.dice_weight,
            "normalize": self.normalize,
            "meanings": self.meanings,
            "overlapping": self.overlapping,
            "name": self.name,
        }


def _of_one_class(y_pred: Tensor, is_class: Tensor, may_be: Tensor | None, from_logits: bool) -> Tensor:
    """Return minus the logarithm of the probability that a voxel is of the class, or of one of those, that its label says."""
    log_p = ops.log_softmax(y_pred, axis=-1) if from_logits else ops.log(ops.maximum(y_pred, _TINY))
    if may_be is None:
        return ops.sum(ops.where(is_class, -log_p, 0.0), axis=-1)
    return -ops.logsumexp(ops.where(ops.logical_or(is_class, may_be), log_p, _NOTHING), axis=-1)


def _of_every_class(y_pred: Tensor, is_class: Tensor, may_be: Tensor | None, from_logits: bool) -> Tensor:
    """Return the mean of the binary cross-entropy over the classes of which a voxel's label says whether it is of them."""
    if from_logits:
        wrong = ops.softplus(ops.where(is_class, -y_pred, y_pred))
    else:
        wrong = -ops.log(ops.maximum(ops.where(is_class, y_pred, 1.0 - y_pred), _TINY))
    if may_be is None:
        return ops.mean(wrong, axis=-1)
    counts = ops.cast(ops.logical_not(may_be), "float32")
    return ops.sum(counts * wrong, axis=-1) / ops.maximum(ops.sum(counts, axis=-1), 1.0)


# Whether classes may overlap -> the cross-entropy of every voxel, and what makes probabilities of logits.
_OVERLAPPING = {False: _of_one_class, True: _of_every_class}
_ACTIVATIONS = {False: ops.softmax, True: ops.sigmoid}


def _totals(*sums: Tensor) -> tuple[Tensor, ...]:
    """Return sums over the whole batch, of which every replica has a part."""
    return devices.summed_over_replicas(sums)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, and a finite 0 with a zero gradient where the denominator is 0."""
    return ops.where(denominator > 0, numerator / ops.where(denominator > 0, denominator, 1.0), 0.0)


def _dice_loss(probabilities: Tensor, is_class: Tensor, counts: Tensor) -> Tensor:
    voxels = tuple(range(len(probabilities.shape) - 1))
    mask = ops.cast(counts, "float32")
    truth = ops.cast(is_class, "float32") * mask
    probabilities = probabilities * mask
    in_truth, in_prediction, in_both = _totals(
        *(ops.sum(part, axis=voxels) for part in (truth, probabilities, probabilities * truth))
    )
    dice = 2 * in_both / ops.maximum(in_truth + in_prediction, 1e-7)
    present = ops.cast(in_truth > 0, "float32")
    return _ratio(ops.sum(present * (1.0 - dice)), ops.sum(present))


class OfLogits(keras.losses.Loss):
    """A loss of probabilities as a loss of logits, through which a network is trained.

    Args:
        loss: a Keras loss, or a function of `(y_true, y_pred)` with a value per voxel, which are averaged by the weights.

    Raises:
        InputError: a function with other values: a mean would count voxels that nobody labelled.
    """

    def __init__(self, loss: keras.losses.Loss | Callable[[Tensor, Tensor], Tensor]):
        super().__init__(name=getattr(loss, "name", "loss"), reduction="mean_with_sample_weight", dtype="float32")
        self.loss = loss

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        if not isinstance(self.loss, keras.losses.Loss):
            return super().__call__(y_true, y_pred, sample_weight)
        # Its reduction is its own.
        return self.loss(y_true, _probabilities(y_pred), sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        values = self.loss(y_true, _probabilities(y_pred))
        if len(values.shape) != len(y_pred.shape) - 1:
            raise InputError(
                f"loss: expected a value per voxel, shape {tuple(y_pred.shape[:-1])}; found {tuple(values.shape)}; the mean "
                "over the labelled voxels is taken for you."
            )
        return values


def _probabilities(logits: Tensor) -> Tensor:
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)
