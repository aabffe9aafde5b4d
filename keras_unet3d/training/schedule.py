"""What a training is told: how long, how fast, on what; and who hears of it."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.patches.batches import Waiting
from keras_unet3d.patches.samples import Sample


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and what is minimised.

    Attributes:
        epochs, steps_per_epoch: a step is one batch.
        learning_rate: its largest value.
        loss: "crossentropy" or "crossentropy+dice".
        class_weights: one per class; None for 1 everywhere.
        optimizer: "adamw" or "sgd" (with momentum, as in the paper).
        decay: of the learning rate over all epochs, "polynomial", "cosine" or "constant".
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of a step's gradient; 0 for none.
        ema: share of the old value in the running mean of the weights, which is what is validated and kept; 0 for none.
        accumulate: batches whose gradients make one change of the weights.
        patience: epochs without a better validation IoU after which it ends; None for all epochs.
        deep_supervision: whether the levels below the first one are trained on the labels as well.
        frozen: first epochs in which the analysis path is left as it is.
    """

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    loss: str
    class_weights: list[float] | None = None
    optimizer: str = "adamw"
    decay: str = "polynomial"
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    patience: int | None = None
    deep_supervision: bool = False
    frozen: int = 0

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Feed:
    """What a network is trained on.

    Attributes:
        training: number of a batch -> endless batches `(x, y, w)` from that one on, or what `augmentation` makes them of.
        validation: finite batches `(x, y, w)`.
        waiting: is told how long the training waits for its batches.
        augmentation: is applied to every batch on the device that trains; None where the host has done it.
        advice: what to do where the input is waited for.
        origin: number of a batch -> from where its patches were taken, for a message.
    """

    training: Callable[[int], object]
    validation: object
    waiting: Waiting
    augmentation: Augmentation | None
    advice: str
    origin: Callable[[int], str]


@dataclass(frozen=True)
class Callbacks:
    """What is told about the training as it goes: lines, and steps done of steps in all."""

    say: Callable[[str], None]
    progress: Callable[[int, int], None]


@dataclass(frozen=True)
class Shown:
    """What `slices.png` shows: a validation sample, the names of its classes, and its voxel size (z, y, x)."""

    sample: Sample
    names: tuple[str, ...]
    spacing: tuple[float, float, float] | None
