"""What happens during and after every epoch of a training."""

import csv
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.files import whole_file, write_text
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.listener import Listener
from keras_unet3d.machine import hosts
from keras_unet3d.patches.batches import Waiting
from keras_unet3d.pictures.curves import draw_curves
from keras_unet3d.pictures.slices import draw_patch
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.optimizers import DECAYS, swap_averages
from keras_unet3d.training.schedule import Feed, Schedule, Shown
from keras_unet3d.training.state import MONITORED, save_state

# The figures of an epoch or a batch: a dictionary that callbacks may add to; None in Keras' own signatures alone.
Logs = Any
# Share of a training spent waiting for input; the name of it in the figures of an epoch.
WAITING = "waiting"
# Minutes that a training of so many minutes has taken at the end of an epoch.
MINUTES = "minutes"
_TOO_LONG = 0.1


class Diverged(InputError, FloatingPointError):
    """A training whose figures are no longer numbers."""


class Guard(keras.callbacks.Callback):
    """Stops at the first batch or epoch whose figures are not finite: nothing that was kept is written over."""

    def __init__(self, feed: Feed, steps_per_epoch: int):
        super().__init__()
        self.feed, self.steps_per_epoch, self.epoch = feed, steps_per_epoch, 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not math.isfinite(logs["loss"]):
            origin = self.feed.origin(self.epoch * self.steps_per_epoch + batch)
            self._stop(
                f", step {batch + 1}: the loss is {float(logs['loss'])} on the batch {origin}, which is worth a look"
            )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for name, value in logs.items():
            if not math.isfinite(value):
                self._stop(f": {name} is {float(value)}, although the loss of every step was a number")

    def _stop(self, happened: str) -> NoReturn:
        kept = (
            "What was kept of earlier epochs is untouched, and can be trained further with `start`. "
            if self.epoch
            else ""
        )
        raise Diverged(
            f"epoch {self.epoch + 1}{happened}; the training has diverged. {kept}Lower `learning_rate`, set `clip=1`, or use `precision=float32`."
        )


class Waits(keras.callbacks.Callback):
    """Adds to the figures of an epoch, and of its steps, the share of its steps that was spent waiting for input."""

    def __init__(self, waiting: Waiting):
        super().__init__()
        self.waiting, self.begun, self.ended, self.first_step = waiting, 0.0, 0.0, True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ended = time.perf_counter()
        if self.first_step and self.params["steps"] > 1:
            # It is compiled meanwhile: that is no measure of the others.
            self._begin()
        self.first_step = False
        logs[WAITING] = self._share()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs[WAITING] = self._share()

    def _share(self) -> float:
        return min(self.waiting.seconds / max(self.ended - self.begun, 1e-9), 1.0)

    def _begin(self) -> None:
        self.begun, self.waiting.seconds = time.perf_counter(), 0.0


class Clock(keras.callbacks.Callback):
    """Lets the learning rate fall by the clock, and ends the training when its time is up.

    Adds to the figures of an epoch the minutes that the training has taken.

    Args:
        schedule: largest learning rate, its decay, and about how many epochs there are.
        minutes: of the whole training.
        rows: the figures of the epochs before.
    """

    def __init__(self, schedule: Schedule, minutes: float, rows: list[dict]):
        super().__init__()
        self.schedule, self.minutes, self.rows, self.begun = schedule, minutes, rows, 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        before = self.rows[-1][MINUTES] if self.rows else 0.0
        self.begun = time.perf_counter() - 60 * before

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        # That of the middle of the epoch; one takes as long as those before.
        share = (self._passed() + self._epoch() / 2) / self.minutes
        falls = DECAYS[self.schedule.decay](min(share, 1.0))
        self.model.optimizer.learning_rate = self.schedule.learning_rate * float(falls)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        # Of this process alone: nobody else is waited for.
        logs[MINUTES] = (time.perf_counter() - self.begun) / 60

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs[MINUTES] = self._passed()
        if logs[MINUTES] + self._epoch() / 2 > self.minutes:
            self.model.stop_training = True

    def _passed(self) -> float:
        return hosts.of_first(lambda: (time.perf_counter() - self.begun) / 60)

    def _epoch(self) -> float:
        if self.rows:
            return self.rows[-1][MINUTES] / len(self.rows)
        return self.minutes / self.schedule.epochs


class Pace(keras.callbacks.Callback):
    """Measures the seconds of a step, those that are compiled meanwhile left out."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """The median of the steps after the second one."""
        return statistics.median(later - earlier for earlier, later in pairwise(self.ends[1:]))


class Validates(keras.callbacks.Callback):
    """Adds to the figures of an epoch those of what is held out; of the running mean of the weights, where there is one."""

    def __init__(self, network: keras.Model, feed: Feed):
        super().__init__()
        self.network, self.feed = network, feed

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with averaged(self.model):
            logs |= hosts.of_first(lambda: self.feed.validation(self.network))


@contextmanager
def averaged(trained: keras.Model) -> Iterator[None]:
    """Have the running mean of the weights in the place of the weights, where the optimiser keeps one.

    Each of several processes that train together computes by itself within.
    """
    swap_averages(trained.optimizer, trained.trainable_variables)
    with hosts.alone(trained.variables):
        yield
    swap_averages(trained.optimizer, trained.trainable_variables)


class Records(keras.callbacks.Callback):
    """Writes what is kept after every epoch, each file whole or not at all; a full disk does not stop the training.

    The state comes last: a training that is resumed from the one before writes the same files again.

    Args:
        network: what is saved: its weights are trained.
        feed: knows whether anything is held out; where nothing is, the last network is the best.
        shown: what `slices.png` shows.
        run: the run folder.
        facts: "rows", the figures per epoch, and "best", the row whose network is in `model.keras`; is added to.
        listener: is told what could not be written.
    """

    def __init__(self, network: keras.Model, feed: Feed, shown: Shown, run: RunFolder, facts: dict, listener: Listener):
        super().__init__()
        self.network, self.feed, self.shown, self.run = network, feed, shown, run
        self.facts, self.listener = facts, listener
        # What could not be written at the last try.
        self.unwritten: dict[Path, Exception] = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        rows = self.facts["rows"]
        rows.append({"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()})
        with averaged(self.model):
            self._write(self.run.last_network, self._save)
            best = self.facts["best"]
            better = best is None or not self.feed.held_out or rows[-1][MONITORED] > best[MONITORED]
            if better and self._write(self.run.network, self._save):
                self.facts["best"] = rows[-1]
            self._write(self.run.slices, self._draw_slices)
        self._write(self.run.curves, lambda path: draw_curves(rows, path))
        self._write(self.run.history, lambda path: write_history(path, rows))
        self._write(self.run.state, lambda path: save_state(path, self.model, self.model.optimizer, self.facts))

    def _write(self, path: Path, write: Callable[[Path], None]) -> bool:
        if not hosts.leads():
            return True
        try:
            write(path)
        except (OSError, RuntimeError, InputError) as error:
            # HDF5 says a full disk by a RuntimeError.
            self.listener.say(
                f"could not be written: {str(error).rstrip('.')}. The training goes on, and tries again after an epoch"
            )
            self.unwritten[path] = error
            return False
        self.unwritten.pop(path, None)
        return True

    def _save(self, path: Path) -> None:
        with whole_file(path) as partial:
            self.network.save(partial)

    def _draw_slices(self, path: Path) -> None:
        x, y, w = self.shown.sample
        probabilities = keras.ops.convert_to_numpy(self.network(x[None], training=False))[0]
        table = self.shown.labels
        truth = table.as_classes(y)
        predicted = table.painted(probabilities > 0.5) if table.overlapping else probabilities.argmax(-1)
        labelled = (w > 0) & (truth != UNLABELLED)
        draw_patch(x[..., 0], truth, labelled, predicted, path, table.shown_names, self.shown.spacing)


def write_history(path: Path, rows: list[dict]) -> None:
    """Write one line per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


class Progress(keras.callbacks.Callback):
    """One line per epoch, the figures of every step, how far it is, and once what to do where the input is waited for."""

    def __init__(self, listener: Listener, schedule: Schedule, advice: str):
        super().__init__()
        self.listener, self.schedule, self.advice, self.epoch, self.advised = listener, schedule, advice, 0, False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        epochs, steps, minutes = self.schedule.epochs, self.schedule.steps_per_epoch, self.schedule.minutes
        place = {"epoch": self.epoch + 1, "epochs": epochs, "step": batch + 1, "steps": steps}
        self.listener.figures("step", place | {name: float(value) for name, value in logs.items()})
        if minutes is None:
            self.listener.progress(self.epoch * steps + batch + 1, self.schedule.steps)
        else:
            self.listener.progress(min(round(60 * logs[MINUTES]), round(60 * minutes)), round(60 * minutes))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.listener.figures("epoch", {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()})
        shown = ("loss", "iou", "val_loss", "val_iou", "val_dice")
        figures = "  ".join(f"{name} {logs[name]:.3f}" for name in shown)
        waited = logs[WAITING]
        by_clock = self.schedule.minutes is not None
        of = f", {logs[MINUTES]:.1f} of {self.schedule.minutes:g} min" if by_clock else f"/{self.schedule.epochs}"
        self.listener.say(f"epoch {epoch + 1:>3}{of}  {figures}  waiting for input {waited:.0%}")
        if waited > _TOO_LONG and not self.advised:
            self.advised = True
            self.listener.say(f"input: {waited:.0%} of the time was spent waiting for patches; {self.advice}")


class Patience(keras.callbacks.Callback):
    """Ends a training whose validation has not become better for some epochs."""

    def __init__(self, patience: int | None, rows: list[dict], listener: Listener):
        super().__init__()
        self.patience, self.rows, self.listener = patience, rows, listener

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if out_of_patience(self.rows, self.patience):
            self.model.stop_training = True
            self.listener.say(f"stopped: the validation IoU has not risen for {self.patience} epochs")


def out_of_patience(rows: list[dict], patience: int | None) -> bool:
    """Return whether the best of the monitored figures is `patience` or more rows ago."""
    if patience is None or not rows:
        return False
    figures = [row[MONITORED] for row in rows]
    return len(rows) - 1 - figures.index(max(figures)) >= patience
