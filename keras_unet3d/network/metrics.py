"""Intersection over union and Dice over the labelled voxels, exact over an epoch."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.geometry import MOST_CHANNELS
from keras_unet3d.machine.tensors import Tensor
from keras_unet3d.network.labelled_voxels import labelled_voxels, predictions
from keras_unet3d.network.meanings import IS, MAY_BE, Meanings, checked_meanings, meanings_of

# Counters hold count = high * _CARRY + low in two 32-bit integers: exact to 2**51 voxels on every backend.
_CARRY = 2**20


class _Overlap(keras.metrics.Metric):
    """Counts per class: voxels in truth and prediction, in the prediction, in the truth."""

    @validated
    def __init__(
        self,
        num_classes: int,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        background: int | None = None,
        meanings: Meanings | None = None,
        threshold: float | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if not 1 <= num_classes <= MOST_CHANNELS:
            raise InputError(f"num_classes: expected a whole number from 1 to {MOST_CHANNELS}, found {num_classes}.")
        for argument, value in (("class_id", class_id), ("background", background)):
            if value is not None and not 0 <= value < num_classes:
                raise InputError(f"{argument}: expected 0 to {num_classes - 1}, found {value}.")
        self.num_classes = num_classes
        self.class_id = class_id
        self.background = background
        self.meanings = checked_meanings(meanings)
        self.threshold = threshold
        self.counts = self.add_variable((2, 3, num_classes), initializer="zeros", dtype="int32", name="counts")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_pred = predictions(y_pred)
        if y_pred.shape[-1] not in (self.num_classes, None):
            raise InputError(
                f"y_pred: expected predictions of {self.num_classes} classes, the metric's `num_classes`; found shape "
                f"{tuple(y_pred.shape)}."
            )
        says = meanings_of(self.num_classes, self.meanings)
        count = len(says)
        labels, weights = labelled_voxels(y_true, y_pred, sample_weight, count=count)
        # One pass over the voxels makes a table of label and prediction, instead of a pass per class. What is no label, and
        # voxels without one, have a row each behind those of the labels.
        is_label = ops.logical_and(labels >= 0, labels < count)
        rows = ops.reshape(ops.where(weights > 0, ops.where(is_label, labels, count), count + 1), (-1,))
        if self.threshold is None:
            chosen = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
            cells = rows * self.num_classes + ops.reshape(chosen, (-1,))
            table = ops.segment_sum(ops.ones_like(cells), cells, num_segments=(count + 2) * self.num_classes)
            table = ops.reshape(table, (count + 2, self.num_classes))
            voxels = ops.sum(table, axis=1)
        else:
            chosen = ops.reshape(ops.cast(y_pred > self.threshold, "int32"), (-1, self.num_classes))
            table = ops.segment_sum(chosen, rows, num_segments=count + 2)
            voxels = ops.segment_sum(ops.ones_like(rows), rows, num_segments=count + 2)
        is_class = ops.convert_to_tensor((says == IS).astype("int32"))
        # A voxel does not count for the classes that it may be; what is no label is a wrong prediction of any.
        counted = ops.convert_to_tensor(np.pad((says != MAY_BE).astype("int32"), ((0, 1), (0, 0)), constant_values=1))
        both = ops.sum(table[:count] * is_class, axis=0)
        predicted = ops.sum(table[: count + 1] * counted, axis=0)
        new = ops.stack([both, predicted, ops.sum(ops.expand_dims(voxels[:count], -1) * is_class, axis=0)])
        low = self.counts[1] + new
        carried = ops.floor_divide(low, _CARRY)
        self.counts.assign(ops.stack([self.counts[0] + carried, low - carried * _CARRY]))

    def per_class(self) -> Tensor:
        """Return the figure of every class, float32; 0 for a class that is in neither truth nor prediction."""
        return self._figures()[0]

    def result(self) -> Tensor:
        """Return the figure of `class_id`, or the mean over the classes but `background` that truth or prediction have."""
        figures, present = self._figures()
        if self.class_id is not None:
            return figures[self.class_id]
        if self.background is not None:
            present *= ops.cast(ops.arange(self.num_classes) != self.background, "float32")
        return ops.sum(figures * present) / ops.maximum(ops.sum(present), 1.0)

    def _figures(self) -> tuple[Tensor, Tensor]:
        """Return the figure of every class, and 1 for each that truth or prediction have, 0 for the others."""
        high, low = ops.cast(self.counts[0], "float32"), ops.cast(self.counts[1], "float32")
        both, predicted, truth = ops.unstack(high * _CARRY + low, num=3)
        present = ops.cast(predicted + truth > 0, "float32")
        return self._figure(both, predicted, truth), present

    @staticmethod
    def _figure(both: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "class_id": self.class_id,
            "background": self.background,
            "meanings": self.meanings,
            "threshold": self.threshold,
            "name": self.name,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="keras_unet3d")
class IoU(_Overlap):
    """Intersection over union of the predicted and the true class, over the voxels of weight > 0.

    Args:
        num_classes: number of classes; predictions are `(batch, z, y, x, num_classes)`, labels integers.
        class_id: the class to report; `None` for the mean over the classes that occur.
        background: a class that is left out of that mean, as `evaluate` does; `None` for none.
        meanings: what every label says of every class, as in `SampleWeightedSparseCrossentropy`; a voxel counts for the classes
            that it is known to be or not to be.
        threshold: where classes may overlap, the value above which a voxel is predicted to be of one: 0.5 of probabilities, 0
            of logits. `None` takes the class of the largest value.

    The weights only select voxels, they do not scale. Counts are integers, accumulated over the epoch. What is wrong is
    refused as by `SampleWeightedSparseCrossentropy`; in a graph a label that is no class counts as a wrong prediction.
    """

    def __init__(
        self,
        num_classes: int,
        class_id: int | None = None,
        name: str | None = "iou",
        dtype: Any = None,
        background: int | None = None,
        meanings: Meanings | None = None,
        threshold: float | None = None,
    ):
        super().__init__(num_classes, class_id, name, dtype, background, meanings, threshold)

    @staticmethod
    def _figure(both: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return both / ops.maximum(predicted + truth - both, 1.0)


@keras.saving.register_keras_serializable(package="keras_unet3d")
class Dice(_Overlap):
    """Dice coefficient, `2 |A and B| / (|A| + |B|)`; arguments and counting as in `IoU`."""

    def __init__(
        self,
        num_classes: int,
        class_id: int | None = None,
        name: str | None = "dice",
        dtype: Any = None,
        background: int | None = None,
        meanings: Meanings | None = None,
        threshold: float | None = None,
    ):
        super().__init__(num_classes, class_id, name, dtype, background, meanings, threshold)

    @staticmethod
    def _figure(both: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return 2 * both / ops.maximum(predicted + truth, 1.0)
