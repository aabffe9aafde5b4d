"""Intersection over union and Dice over the labelled voxels, exact over an epoch."""

from typing import Any

import keras
from keras import ops

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.geometry import MOST_CHANNELS
from keras_unet3d.machine.tensors import Tensor
from keras_unet3d.network.labelled_voxels import labelled_voxels, predictions

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
        self.counts = self.add_variable((2, 3, num_classes), initializer="zeros", dtype="int32", name="counts")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_pred = predictions(y_pred)
        if y_pred.shape[-1] not in (self.num_classes, None):
            raise InputError(
                f"y_pred: expected predictions of {self.num_classes} classes, the metric's `num_classes`; found shape "
                f"{tuple(y_pred.shape)}."
            )
        labels, weights = labelled_voxels(y_true, y_pred, sample_weight)
        # One pass over the voxels makes a table of truth and prediction, instead of a pass per class. Labels that are no
        # class, and voxels without a label, have a row each behind those of the classes.
        classes = self.num_classes
        is_class = ops.logical_and(labels >= 0, labels < classes)
        row = ops.where(weights > 0, ops.where(is_class, labels, classes), classes + 1)
        chosen = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        cell = ops.reshape(row * classes + chosen, (-1,))
        table = ops.segment_sum(ops.ones_like(cell), cell, num_segments=(classes + 2) * classes)
        table = ops.reshape(table, (classes + 2, classes))[: classes + 1]
        truth = table[:classes]
        new = ops.stack([ops.diagonal(truth), ops.sum(table, axis=0), ops.sum(truth, axis=1)])
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
    ):
        super().__init__(num_classes, class_id, name, dtype, background)

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
    ):
        super().__init__(num_classes, class_id, name, dtype, background)

    @staticmethod
    def _figure(both: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return 2 * both / ops.maximum(predicted + truth, 1.0)
