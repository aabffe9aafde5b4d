"""Training: compile, fit, what is kept and shown after every epoch, and how an interrupted training goes on."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import hosts
from keras_unet3d.network.losses import OfLogits, SampleWeightedSparseCrossentropy
from keras_unet3d.network.metrics import Dice, IoU
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.callbacks import (
    Clock,
    Guard,
    Pace,
    Patience,
    Progress,
    Records,
    Validates,
    Waits,
    out_of_patience,
)
from keras_unet3d.training.network import Trained, trained_network
from keras_unet3d.training.optimizers import make_optimizer
from keras_unet3d.training.schedule import Feed, OwnParts, Schedule, Shown
from keras_unet3d.training.state import read_facts, restore_network, restore_optimizer, save_state

# What is minimised -> the factor of soft Dice beside the cross-entropy.
DICE_WEIGHTS = {"crossentropy": 0.0, "crossentropy+dice": 1.0}
_NO_PARTS = OwnParts()
# Steps by which the time of one is measured, the first ones of which are compiled meanwhile.
_MEASURED_STEPS = 7
# Of a training by the clock: an epoch takes about so many seconds, and there are so many of them; an epoch's end,
# validation and files, takes a share of the time.
_EPOCH_SECONDS, _FEWEST_EPOCHS, _MOST_EPOCHS, _SHARE_OF_STEPS = 15, 4, 40, 0.9
# A machine that becomes faster may go on for longer than was planned.
_FASTER = 10


def train(
    model: keras.Model,
    feed: Feed,
    schedule: Schedule,
    run: RunFolder,
    *,
    shown: Shown,
    own: OwnParts = _NO_PARTS,
    resume: bool = False,
    listener: Listener = SILENT,
) -> tuple[list[dict], dict]:
    """Fit `model` in place and return the figures of every epoch, those before an interruption included, and of the best.

    Writes into `run`: the best network by validation IoU, the last one, the history and its picture, a picture of slices,
    the state to resume from and, on the TensorFlow backend, TensorBoard's logs. Of several processes that train together the
    first one writes, and measures what is held out.

    Args:
        model: made by `build_model`, output "probabilities". It is trained through its logits.
        feed: what it is trained on.
        schedule: how long, how fast, which loss.
        run: an existing folder.
        shown: what the picture of slices shows.
        own: loss, callbacks and teacher of the caller.
        resume: whether to go on from the state where there is one. On a CPU the result is that of a training that was
            never interrupted, to the bit.
        listener: is told a line per epoch, and steps done and steps in all.

    Raises:
        Diverged: figures are no longer finite; an `InputError` and a `FloatingPointError`.
        OSError: what is to be kept could not be written, up to the last epoch.
    """
    loss = training_loss(schedule, own, feed.labels)
    trained = trained_network(model, loss, schedule.deep_supervision, feed.augmentation, own.teacher)
    before = hosts.of_first(lambda: read_facts(run.state)) if resume else None
    if before:
        restore_network(run.state, trained)
    facts = before or {"rows": [], "best": None}
    rows = facts["rows"]
    if schedule.minutes is not None:
        if not facts.get("pace"):
            _compile(model, trained, schedule, loss, 0, feed.labels)
            facts["pace"] = _pace(trained, feed, schedule, shown)
        schedule = replace(schedule, **facts["pace"])
    records = Records(model, feed, shown, run, facts, listener)
    for begun, end in _phases(schedule):
        if len(rows) >= end or out_of_patience(rows, schedule.early_stop):
            continue
        if schedule.minutes is None or not trained.compiled:
            _compile(model, trained, schedule, loss, begun, feed.labels)
        if len(rows) > begun:
            restore_optimizer(run.state, trained.optimizer)
        if not before and not rows and hosts.leads():
            # The weights that it begins with may be another network's.
            save_state(run.state, trained, trained.optimizer, facts)
        callbacks = [
            # The others find their figures among those of the epoch.
            Validates(model, feed),
            Waits(feed.waiting),
            *([Clock(schedule, schedule.minutes, rows)] if schedule.minutes is not None else []),
            Guard(feed, schedule.steps_per_epoch),
            *_tensorboard(run),
            records,
            Progress(listener, schedule, feed.advice),
            Patience(schedule.early_stop, rows, listener),
            *own.callbacks,
        ]
        _fit(trained, feed, schedule, shown, len(rows), end, callbacks)
    if records.unwritten:
        raise next(iter(records.unwritten.values()))
    return rows, facts["best"]


def training_loss(schedule: Schedule, own: OwnParts = _NO_PARTS, labels: LabelTable | None = None) -> keras.losses.Loss:
    """Return the loss of a training, called with logits: the schedule's, or the caller's own.

    Raises:
        InputError: settings of the schedule's loss beside a loss of the caller's own, or labels that this does not know.
    """
    meanings = _meanings(labels)
    if own.loss is None:
        return SampleWeightedSparseCrossentropy(
            from_logits=True,
            class_weights=schedule.class_weights,
            dice_weight=DICE_WEIGHTS[schedule.loss],
            # The feed has divided the weights by their sum over all batches of a step.
            normalize=schedule.accumulate == 1,
            meanings=meanings,
            overlapping=labels is not None and labels.overlapping,
        )
    if meanings is not None:
        raise InputError(
            "loss: expected none of your own with `regions` or `annotated`, whose labels are not the classes' numbers; leave it out."
        )
    if schedule.class_weights is not None or schedule.accumulate > 1:
        raise InputError(
            "loss: expected neither `class_weights` nor `accumulate` beside a loss of your own, found one of them; leave it out."
        )
    # By Keras' convention a loss takes probabilities unless it says otherwise.
    return own.loss if getattr(own.loss, "from_logits", False) else OfLogits(own.loss)


def _meanings(labels: LabelTable | None) -> list[list[int]] | None:
    """Return what labels say of classes; None where label n is class n."""
    return None if labels is None or labels.plain else labels.meanings.tolist()


def compiled_network(
    model: keras.Model, schedule: Schedule, own: OwnParts = _NO_PARTS, labels: LabelTable | None = None
) -> Trained:
    """Return the network that is trained in the place of `model`, ready for its first step, without augmentation."""
    loss = training_loss(schedule, own, labels)
    trained = trained_network(model, loss, schedule.deep_supervision, None, own.teacher)
    _compile(model, trained, schedule, loss, 0, labels)
    return trained


def _phases(schedule: Schedule) -> list[tuple[int, int]]:
    """Return first epoch and end of the parts between which the optimiser is made anew."""
    if schedule.minutes is not None:
        return [(0, _FASTER * schedule.epochs)]
    frozen = schedule.freeze_encoder
    return list(pairwise([0, *([frozen] if 0 < frozen < schedule.epochs else []), schedule.epochs]))


def _compile(
    model: keras.Model,
    trained: Trained,
    schedule: Schedule,
    loss: keras.losses.Loss,
    begun: int,
    labels: LabelTable | None = None,
) -> None:
    for layer in model.layers:
        layer.trainable = begun >= schedule.freeze_encoder or not layer.name.startswith("analysis_")
    classes, overlapping = model.output_shape[-1], labels is not None and labels.overlapping
    figures: dict[str, Any] = {
        "background": None if labels is None or overlapping else labels.background,
        "meanings": _meanings(labels),
        # Of logits.
        "threshold": 0.0 if overlapping else None,
    }
    trained.compile(
        optimizer=make_optimizer(schedule, begun * schedule.steps_per_epoch),
        loss=loss,
        weighted_metrics=[IoU(classes, **figures), Dice(classes, **figures)],
    )
    trained.optimizer.build(trained.trainable_variables)


def _pace(trained: Trained, feed: Feed, schedule: Schedule, shown: Shown) -> dict[str, int]:
    """Return how many epochs a training by the clock has, and of how many steps; its first steps are made."""
    pace = Pace()
    assert schedule.minutes is not None, "by the clock"
    _fit(trained, feed, replace(schedule, steps_per_epoch=_MEASURED_STEPS), shown, 0, 1, [pace])
    for variable in trained.trainable_variables:
        # Keras ends a fit with the running means for weights, on JAX in the same memory, which cannot be given away twice.
        variable.assign(np.array(keras.ops.convert_to_numpy(variable)))
    seconds = 60 * schedule.minutes
    epochs = min(max(round(seconds / _EPOCH_SECONDS), _FEWEST_EPOCHS), _MOST_EPOCHS)
    of_step = hosts.of_first(lambda: pace.seconds)
    return {"epochs": epochs, "steps_per_epoch": max(int(_SHARE_OF_STEPS * seconds / epochs / of_step), 1)}


def _fit(trained: Trained, feed: Feed, schedule: Schedule, shown: Shown, done: int, end: int, callbacks: list) -> None:
    """Train from epoch `done` to epoch `end`."""
    if feed.augmentation:
        # Keras would read the shapes of x, y and w off a training batch, which has none of them.
        x, y, w = (array[None] for array in shown.sample)
        trained.evaluate(x, y, sample_weight=w, verbose=0)
    trained.fit(
        feed.training(done * schedule.steps_per_epoch),
        initial_epoch=done,
        epochs=end,
        steps_per_epoch=schedule.steps_per_epoch,
        shuffle=False,  # the samples are drawn at random already
        verbose=0,
        callbacks=callbacks,
    )


def _tensorboard(run: RunFolder) -> list[keras.callbacks.Callback]:
    # Its logs are written by TensorFlow.
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(str(run.logs), write_graph=False)]
