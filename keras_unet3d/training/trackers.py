"""A training told to an experiment tracker, MLflow or Weights & Biases: its settings, figures and pictures."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json, write_json
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import versions
from keras_unet3d.run_folder import RunFolder

# What runs are found under in a tracker, unless its own variables of the environment name something else.
_PROJECT = "keras-unet3d"
# A server that does not answer is asked so often again, and waited for so many seconds.
_RETRIES, _PATIENCE = 2, 20
# Of a text that MLflow takes.
_LONGEST = 6000


class Tracker(keras.callbacks.Callback):
    """Tells a tracker of a run of `fit`, which goes on there with the run; by itself, in another training, it does nothing.

    What fails, such as a network that is down, is said once, and the training goes on without.

    Raises:
        InputError: the tracker's package is not installed.
    """

    name: str

    def __init__(self) -> None:
        super().__init__()
        if not versions.is_installed(self.name):
            raise InputError(
                f"track: expected the package {self.name}, found none; run pip install 'keras-unet3d[{self.name}]'."
            )
        self.run: RunFolder | None = None
        self.listener = SILENT
        self.begun = self.lost = False

    # What a tracker does, in four calls.

    def begin(self, run: RunFolder, before: str | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        """Begin a run of the tracker, or go on with the one of that id; return its id, and where it is."""
        raise NotImplementedError

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        """Tell the figures of an epoch, counted from 1."""
        raise NotImplementedError

    def finish(self, values: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Tell the figures of the best epoch, and show the pictures."""
        raise NotImplementedError

    def close(self, is_finished: bool) -> None:
        """End the run of the tracker."""
        raise NotImplementedError

    # When it does that.

    def follow(self, run: RunFolder, listener: Listener) -> None:
        """Take a run that is about to be trained."""
        self.run, self.listener, self.begun, self.lost = run, listener, False, False

    def on_train_begin(self, logs: Any = None) -> None:
        # A training may have several parts.
        if self.run and not self.begun:
            self.begun = True
            self._tell(self._begin, self.run)

    def _begin(self, run: RunFolder) -> None:
        ids = read_json(run.tracked, "the runs of trackers") if run.tracked.is_file() else {}
        known, where = self.begin(run, ids.get(self.name), run.read_config().settings)
        write_json(run.tracked, ids | {self.name: known})
        self.listener.say(f"{self.name}: run {known}, {_harmless(where)}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.begun:
            self._tell(self.figures, epoch + 1, {name: float(value) for name, value in (logs or {}).items()})

    def end(self, is_finished: bool) -> None:
        """Tell what came of the run."""
        if not (self.begun and self.run and self.run.is_run):
            return
        if is_finished:
            best = self.run.read_config().best or {}
            self._tell(self.finish, {f"best_{name}": float(value) for name, value in best.items()}, self.run.pictures)
        self._tell(self.close, is_finished)

    def _tell(self, tell: Callable, *what: Any) -> None:
        if self.lost:
            return
        try:
            tell(*what)
        except Exception as error:
            self.lost = True
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.listener.say(
                f"{self.name}: {_harmless(reason)[:300]}; the training goes on, and is not tracked any more"
            )


def _harmless(text: str) -> str:
    """Return a text without the name and password that an address may have in it."""
    return re.sub(r"//[^/@\s]+@", "//", text)


class MlflowTracker(Tracker):
    """Tells MLflow of a run: at `$MLFLOW_TRACKING_URI`, or in a database in the run folder."""

    name = "mlflow"

    def begin(self, run: RunFolder, before: str | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        from mlflow import MlflowClient, entities, environment_variables

        for variable, value in (
            (environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, _RETRIES),
            (environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT, _PATIENCE),
        ):
            if not variable.is_set():
                variable.set(value)
        # It says that it makes a database.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            uri, artifacts = f"sqlite:///{run.mlflow_database.resolve()}", run.mlflow_artifacts.resolve().as_uri()
        self.entities, self.client = entities, MlflowClient(tracking_uri=uri)
        if before:
            self.client.update_run(before, "RUNNING")
            self.known = before
            return before, uri
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        there = self.client.get_experiment_by_name(experiment)
        where = there.experiment_id if there else self.client.create_experiment(experiment, artifacts)
        self.known = self.client.create_run(where, run_name=run.title).info.run_id
        texts = [entities.Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
        self.client.log_batch(self.known, params=texts)
        return self.known, uri

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(name, value, now, epoch) for name, value in values.items()]
        self.client.log_batch(self.known, metrics=metrics)

    def finish(self, values: Mapping[str, float], pictures: Sequence[Path]) -> None:
        self.figures(0, values)
        for picture in pictures:
            self.client.log_artifact(self.known, str(picture))

    def close(self, is_finished: bool) -> None:
        self.client.set_terminated(self.known, "FINISHED" if is_finished else "FAILED")


class WandbTracker(Tracker):
    """Tells Weights & Biases of a run; where no key is known, or with `WANDB_MODE=offline`, in the run folder alone."""

    name = "wandb"

    def begin(self, run: RunFolder, before: str | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        import wandb

        # Nobody is asked for a key in the midst of a training.
        offline = "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False)
        self.there = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.title,
            dir=str(run.path),
            id=before,
            resume="allow",
            config=dict(settings),
            mode="offline" if offline else None,
            settings=wandb.Settings(console="off", silent=True, init_timeout=_PATIENCE),
        )
        kept = f"kept in {Path(self.there.dir).parent} (wandb sync sends it)"
        return self.there.id, kept if self.there.offline else self.there.url or ""

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        self.there.log(dict(values), step=epoch)

    def finish(self, values: Mapping[str, float], pictures: Sequence[Path]) -> None:
        import wandb

        self.there.summary.update(dict(values))
        self.there.log({picture.stem: wandb.Image(str(picture)) for picture in pictures})

    def close(self, is_finished: bool) -> None:
        self.there.finish(exit_code=0 if is_finished else 1)


# Word of `choices.TRACKERS` -> what tells it.
TRACKERS: dict[str, type[Tracker]] = {kind.name: kind for kind in (MlflowTracker, WandbTracker)}


@contextmanager
def tracked(callbacks: Sequence[keras.callbacks.Callback], run: RunFolder, listener: Listener) -> Iterator[None]:
    """Have the trackers among the callbacks follow the run that is trained within."""
    trackers = [callback for callback in callbacks if isinstance(callback, Tracker)]
    for tracker in trackers:
        tracker.follow(run, listener)
    is_finished = False
    try:
        yield
        is_finished = True
    finally:
        for tracker in trackers:
            tracker.end(is_finished)
