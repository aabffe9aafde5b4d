"""Training: compile, fit, what is kept and shown after every epoch, and how an interrupted training goes on."""

from itertools import pairwise
from pathlib import Path

import keras

from keras_unet3d.network.losses import SampleWeightedSparseCrossentropy
from keras_unet3d.network.metrics import Dice, IoU
from keras_unet3d.training.callbacks import (
    MONITORED,
    WAITING,
    Averages,
    Guard,
    Patience,
    Progress,
    Records,
    Waits,
    out_of_patience,
)
from keras_unet3d.training.network import Trained, trained_network
from keras_unet3d.training.optimizers import DECAYS, OPTIMIZERS, LearningRate, make_optimizer
from keras_unet3d.training.schedule import Callbacks, Feed, Schedule, Shown
from keras_unet3d.training.state import read_facts, restore_network, restore_optimizer, save_state

__all__ = [
    "DECAYS",
    "MONITORED",
    "OPTIMIZERS",
    "WAITING",
    "Callbacks",
    "Feed",
    "LearningRate",
    "Schedule",
    "Shown",
    "compiled_network",
    "read_facts",
    "train",
]

_DICE_WEIGHTS = {"crossentropy": 0.0, "crossentropy+dice": 1.0}


def train(
    model: keras.Model,
    feed: Feed,
    shown: Shown,
    schedule: Schedule,
    run: Path,
    callbacks: Callbacks,
    resume: bool = False,
) -> tuple[list[dict], dict]:
    """Fit `model` in place and return the figures of every epoch, those before an interruption included, and of the best.

    Writes into `run`: `model.keras` (the best by validation IoU), `last.keras`, `history.csv`, `curves.png`, `slices.png`,
    `backup/` and, on the TensorFlow backend, TensorBoard's `logs/`.

    Args:
        model: made by `build_model`, output "probabilities". It is trained through its logits.
        feed: what it is trained on.
        shown: what `slices.png` shows.
        schedule: how long, how fast, which loss.
        run: an existing folder.
        callbacks: what is told meanwhile.
        resume: whether to go on from `backup/` where there is one. On a CPU the result is that of a training that was
            never interrupted, to the bit.

    Raises:
        FloatingPointError: the loss is no longer finite.
        OSError: what is to be kept could not be written, up to the last epoch.
    """
    trained = trained_network(model, _loss(schedule), schedule.deep_supervision, feed.augmentation)
    before = read_facts(run) if resume else None
    if before:
        restore_network(run, trained)
    facts = before or {"rows": [], "best": None}
    rows = facts["rows"]
    records = Records(model, shown, run, facts, callbacks.say)
    for begun, end in _phases(schedule):
        if len(rows) >= end or out_of_patience(rows, schedule.patience):
            continue
        _compile(model, trained, schedule, begun)
        if len(rows) > begun:
            restore_optimizer(run, trained.optimizer)
        if not before and not rows:
            # The weights that it begins with may be another network's.
            save_state(run, trained, trained.optimizer, facts)
        _fit(trained, feed, schedule, end, callbacks, records)
    if records.unwritten:
        raise next(iter(records.unwritten.values()))
    return rows, facts["best"]


def compiled_network(model: keras.Model, schedule: Schedule) -> Trained:
    """Return the network that is trained in the place of `model`, ready for its first step, without augmentation."""
    trained = trained_network(model, _loss(schedule), schedule.deep_supervision, None)
    _compile(model, trained, schedule, 0)
    return trained


def _loss(schedule: Schedule) -> SampleWeightedSparseCrossentropy:
    return SampleWeightedSparseCrossentropy(
        from_logits=True,
        class_weights=schedule.class_weights,
        dice_weight=_DICE_WEIGHTS[schedule.loss],
        # The feed has divided the weights by their sum over all batches of a step.
        normalize=schedule.accumulate == 1,
    )


def _phases(schedule: Schedule) -> list[tuple[int, int]]:
    """Return first epoch and end of the parts between which the optimiser is made anew."""
    bounds = [0, *([schedule.frozen] if 0 < schedule.frozen < schedule.epochs else []), schedule.epochs]
    return list(pairwise(bounds))


def _compile(model: keras.Model, trained: Trained, schedule: Schedule, begun: int) -> None:
    for layer in model.layers:
        layer.trainable = begun >= schedule.frozen or not layer.name.startswith("analysis_")
    classes = model.output_shape[-1]
    trained.compile(
        optimizer=make_optimizer(schedule, begun * schedule.steps_per_epoch),
        loss=_loss(schedule),
        weighted_metrics=[IoU(classes), Dice(classes)],
    )
    trained.optimizer.build(trained.trainable_variables)


def _fit(trained: Trained, feed: Feed, schedule: Schedule, end: int, callbacks: Callbacks, records: Records) -> None:
    rows = records.facts["rows"]
    if feed.augmentation:
        # Keras would read the shapes of x, y and w off a training batch, which has none of them.
        trained.evaluate(feed.validation, steps=1, verbose=0)
    trained.fit(
        feed.training(len(rows) * schedule.steps_per_epoch),
        validation_data=feed.validation,
        initial_epoch=len(rows),
        epochs=end,
        steps_per_epoch=schedule.steps_per_epoch,
        shuffle=False,  # the samples are drawn at random already
        verbose=0,
        callbacks=[
            Guard(feed, schedule.steps_per_epoch),
            # The others find its figure among those of the epoch.
            Waits(feed.waiting),
            Averages(),
            *_tensorboard(records.run),
            records,
            Progress(callbacks, schedule, feed.advice),
            Patience(schedule.patience, rows, callbacks.say),
        ],
    )


def _tensorboard(run: Path) -> list[keras.callbacks.Callback]:
    # Its logs are written by TensorFlow.
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(str(run / "logs"), write_graph=False)]
