"""Training: compile, fit, and what is kept and shown after every epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_unet3d import report
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.files import whole_file
from keras_unet3d.losses import SampleWeightedSparseCrossentropy
from keras_unet3d.metrics import Dice, IoU
from keras_unet3d.model import logits_model
from keras_unet3d.pipeline import Waiting
from keras_unet3d.samples import Sample

MONITORED = "val_iou"
# Share of a training spent waiting for input; the name of it in the figures of an epoch.
WAITING = "waiting"
_TOO_LONG = 0.1
_WEIGHT_DECAY = 1e-4
_DICE_WEIGHTS = {"crossentropy": 0.0, "crossentropy+dice": 1.0}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: epochs, steps per epoch, learning rate at the start; the loss and its class weights."""

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    loss: str
    class_weights: list[float] | None = None


@dataclass(frozen=True)
class Feed:
    """What a network is trained on.

    Attributes:
        training: endless batches `(x, y, w)`, or what `augmentation` makes them of.
        validation: finite batches `(x, y, w)`.
        waiting: is told how long the training waits for its batches.
        augmentation: is applied to every batch on the device that trains; None where the host has done it.
        advice: what to do where the input is waited for.
    """

    training: object
    validation: object
    waiting: Waiting
    augmentation: Augmentation | None
    advice: str


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


def train(
    model: keras.Model,
    feed: Feed,
    shown: Shown,
    schedule: Schedule,
    run: Path,
    callbacks: Callbacks,
) -> dict:
    """Fit `model` in place and return the history, a list of values per metric.

    Writes into `run`: `model.keras` (the best by validation IoU), `last.keras`, `history.csv`, `curves.png`,
    `slices.png` and, on the TensorFlow backend, TensorBoard's `logs/`.

    Args:
        model: made by `build_model`, output "probabilities". It is trained through its logits.
        feed: what it is trained on.
        shown: what `slices.png` shows.
        schedule: how long, how fast, which loss.
        run: an existing folder.
        callbacks: what is told meanwhile.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    trained = logits_model(model)
    if feed.augmentation:
        trained = _AugmentsFirst(trained.inputs, trained.outputs[0], name=trained.name)
        trained.augmentation = feed.augmentation
    classes = trained.output_shape[-1]
    steps = schedule.epochs * schedule.steps_per_epoch
    rate = keras.optimizers.schedules.PolynomialDecay(schedule.learning_rate, steps, end_learning_rate=0.0, power=0.9)
    trained.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY),
        loss=SampleWeightedSparseCrossentropy(
            from_logits=True, class_weights=schedule.class_weights, dice_weight=_DICE_WEIGHTS[schedule.loss]
        ),
        weighted_metrics=[IoU(classes), Dice(classes)],
    )
    if feed.augmentation:
        # Keras would read the shapes of x, y and w off a training batch, which has none of them.
        trained.evaluate(feed.validation, steps=1, verbose=0)
    history = trained.fit(
        feed.training,
        validation_data=feed.validation,
        epochs=schedule.epochs,
        steps_per_epoch=schedule.steps_per_epoch,
        shuffle=False,  # the samples are drawn at random already
        verbose=0,
        callbacks=[
            _Guard(),
            # The others find its figure among those of the epoch.
            _Waits(feed.waiting),
            keras.callbacks.CSVLogger(str(run / "history.csv")),
            *_tensorboard(run),
            _Keep(model, run),
            _Pictures(model, shown, run),
            _Progress(callbacks, schedule, feed.advice),
        ],
    )
    return history.history


def _tensorboard(run: Path) -> list[keras.callbacks.Callback]:
    # Its logs are written by TensorFlow.
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(str(run / "logs"), write_graph=False)]


class _AugmentsFirst(keras.Model):
    """A network whose training step begins with the augmentation of the batch, on the device and compiled with it."""

    def train_step(self, *arguments):
        # The batch comes last on every backend; before it, on some, the state.
        *state, batch = arguments
        return super().train_step(*state, self.augmentation(batch))


class _Guard(keras.callbacks.Callback):
    """Stops at the first epoch whose loss is not finite, before anything good is written over."""

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"epoch {epoch + 1}: the loss is {logs['loss']}; the best model so far is kept. "
                "Lower --learning-rate, or use --precision float32."
            )


class _Keep(keras.callbacks.Callback):
    """Saves the last network, and the best one by the monitored metric, each whole or not at all."""

    def __init__(self, network: keras.Model, run: Path):
        super().__init__()
        self.network, self.run, self.best = network, run, -math.inf

    def on_epoch_end(self, epoch, logs=None):
        self._save("last.keras")
        if logs[MONITORED] > self.best:
            self.best = logs[MONITORED]
            self._save("model.keras")

    def _save(self, name: str) -> None:
        with whole_file(self.run / name) as partial:
            self.network.save(partial)


class _Pictures(keras.callbacks.Callback):
    """Draws the curves, and one validation patch as it is segmented now."""

    def __init__(self, network: keras.Model, shown: Shown, run: Path):
        super().__init__()
        self.network, self.shown, self.run, self.rows = network, shown, run, []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(logs)
        report.curves(self.rows, self.run / "curves.png")
        x, y, w = self.shown.sample
        probabilities = keras.ops.convert_to_numpy(self.network(x[None], training=False))
        predicted = probabilities[0].argmax(-1)
        path = self.run / "slices.png"
        report.patch(x[..., 0], y, w > 0, predicted, path, self.shown.names, self.shown.spacing)


class _Waits(keras.callbacks.Callback):
    """Adds to the figures of an epoch the share of its steps that was spent waiting for input."""

    def __init__(self, waiting: Waiting):
        super().__init__()
        self.waiting, self.begun, self.ended, self.first_step = waiting, 0.0, 0.0, True

    def on_epoch_begin(self, epoch, logs=None):
        self._begin()

    def on_train_batch_end(self, batch, logs=None):
        self.ended = time.perf_counter()
        if self.first_step and self.params["steps"] > 1:
            # It is compiled meanwhile: that is no measure of the others.
            self._begin()
        self.first_step = False

    def on_epoch_end(self, epoch, logs=None):
        logs[WAITING] = min(self.waiting.seconds / max(self.ended - self.begun, 1e-9), 1.0)

    def _begin(self) -> None:
        self.begun, self.waiting.seconds = time.perf_counter(), 0.0


class _Progress(keras.callbacks.Callback):
    """One line per epoch, the steps in between for a bar, and once what to do where the input is waited for."""

    def __init__(self, callbacks: Callbacks, schedule: Schedule, advice: str):
        super().__init__()
        self.callbacks, self.schedule, self.advice, self.epoch, self.advised = callbacks, schedule, advice, 0, False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        done = self.epoch * self.schedule.steps_per_epoch + batch + 1
        self.callbacks.progress(done, self.schedule.epochs * self.schedule.steps_per_epoch)

    def on_epoch_end(self, epoch, logs=None):
        shown = ("loss", "iou", "val_loss", "val_iou", "val_dice")
        figures = "  ".join(f"{name} {logs[name]:.3f}" for name in shown)
        waited = logs[WAITING]
        self.callbacks.say(f"epoch {epoch + 1:>3}/{self.schedule.epochs}  {figures}  waiting for input {waited:.0%}")
        if waited > _TOO_LONG and not self.advised:
            self.advised = True
            self.callbacks.say(f"input: {waited:.0%} of the time was spent waiting for patches; {self.advice}")
