"""What a training is told: how long, how fast, on what, and with which parts of the caller's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.errors import InputError, list_faults, refuse, shown
from keras_unet3d.labels import LabelTable
from keras_unet3d.patches.batches import Waiting
from keras_unet3d.patches.samples import Sample, Transform
from keras_unet3d.words import plural


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and what is minimised.

    Attributes:
        epochs, steps_per_epoch: a step is one batch. With `minutes` they are set by how fast the first steps are.
        learning_rate: its largest value.
        loss: "crossentropy" or "crossentropy+dice".
        class_weights: one per class; None for 1 everywhere.
        optimizer: one of `choices.OPTIMIZERS`.
        decay: of the learning rate over all epochs, "polynomial", "cosine" or "constant".
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of a step's gradient; 0 for none.
        ema: share of the old value in the running mean of the weights, which is what is validated and kept; 0 for none.
        accumulate: batches whose gradients make one change of the weights.
        early_stop: epochs without a better validation IoU after which it ends; None for all epochs.
        deep_supervision: whether the levels below the first one are trained on the labels as well.
        freeze_encoder: first epochs in which the analysis path is left as it is.
        minutes: after which the training ends, the learning rate having fallen by the clock; None where steps are counted.
    """

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    loss: str
    class_weights: list[float] | None = None
    optimizer: str = "muon"
    decay: str = "polynomial"
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    early_stop: int | None = None
    deep_supervision: bool = False
    freeze_encoder: int = 0
    minutes: float | None = None

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * self.steps_per_epoch

    def in_words(self) -> str:
        """Return how long it takes."""
        if self.minutes is not None:
            return f"{self.minutes:g} minutes"
        return f"{plural(self.epochs, 'epoch')} of {plural(self.steps_per_epoch, 'step')}"


@dataclass(frozen=True)
class Feed:
    """What a network is trained on.

    Attributes:
        training: number of a batch -> endless batches `(x, y, w)` from that one on, or what `augmentation` makes them of.
        validation: network -> its figures on what is held out, "val_loss", "val_iou" and "val_dice".
        waiting: is told how long the training waits for its batches.
        augmentation: is applied to every batch on the device that trains; None where the host has done it.
        advice: what to do where the input is waited for.
        origin: number of a batch -> from where its patches were taken, for a message.
        end: has no more samples made, and waits for those under way.
        labels: what the labels of the batches mean; None where label n is class n.
        held_out: whether `validation` is of what is not trained on; else the last network is the best.
    """

    training: Callable[[int], Any]
    validation: Callable[[keras.Model], dict[str, float]]
    waiting: Waiting
    augmentation: Augmentation | None
    advice: str
    origin: Callable[[int], str]
    end: Callable[[], None] = lambda: None
    labels: LabelTable | None = None
    held_out: bool = True


@dataclass(frozen=True)
class OwnParts:
    """What a caller brings along instead of what is there, or beside it.

    Attributes:
        loss: what is minimised in the place of the schedule's loss, see `fit`; None for that.
        callbacks: Keras' callbacks, called after this package's own.
        transforms: what is done to every training sample last.
        teacher: batch -> the probabilities that are learnt beside the labels, tensors both; None for labels alone.
        teacher_name: what the record calls it.
    """

    loss: keras.losses.Loss | Callable | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    transforms: Sequence[Transform] = ()
    teacher: Callable | None = None
    teacher_name: str | None = None

    def __post_init__(self) -> None:
        if self.loss is not None and (isinstance(self.loss, type) or not callable(self.loss)):
            raise InputError(f"loss: expected a keras.losses.Loss or a function of y and p, found {shown(self.loss)}.")
        refuse(list_faults("callbacks", self.callbacks, lambda part: isinstance(part, keras.callbacks.Callback)))
        refuse(list_faults("transforms", self.transforms, callable))

    def names(self) -> dict[str, object]:
        """Return what they are called, for the run's record."""
        names: dict[str, object] = {
            "loss": None if self.loss is None else _name(self.loss),
            "callbacks": [_name(callback) for callback in self.callbacks],
            "transforms": [_name(transform) for transform in self.transforms],
        }
        return names | {"teacher": self.teacher_name} if self.teacher_name else names


def _name(part: Any) -> str:
    if isinstance(part, keras.losses.Loss):
        return f"{type(part).__name__} {part.get_config()}"
    return getattr(part, "__name__", type(part).__name__)


@dataclass(frozen=True)
class Shown:
    """What `slices.png` shows: a validation sample, what its labels mean, and its voxel size (z, y, x)."""

    sample: Sample
    labels: LabelTable
    spacing: tuple[float, float, float] | None
