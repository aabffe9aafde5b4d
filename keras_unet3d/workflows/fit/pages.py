"""The page of a run while it is trained: made anew after every epoch, and where the time went meanwhile."""

import time
from pathlib import Path
from typing import Any

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.machine import hosts
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.workflows.report.run import write_page

# Parts of the time of a fit, in their order.
_READING, _STEPS, _BETWEEN, _AFTER = (
    "reading and planning",
    "steps of training",
    "validation and files",
    "after the training",
)


class PageAfterEpoch(keras.callbacks.Callback):
    """Writes the page of a run after every epoch, the last of all callbacks; made when the fit begins, it has its clock."""

    def __init__(self, listener: Listener):
        super().__init__()
        self.listener, self.run = listener, RunFolder(Path())
        self.parts = dict.fromkeys((_READING, _STEPS, _BETWEEN), 0.0)
        self.last = time.perf_counter()

    def begun(self, run: RunFolder) -> "PageAfterEpoch":
        """Return this callback, now that the training of `run` begins."""
        self.run = run
        self._pass(_READING)
        return self

    def seconds(self) -> dict[str, float]:
        """Return the parts of the time up to now, when all is done."""
        self._pass(_AFTER)
        return self.parts

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._pass(_STEPS)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if hosts.leads():
            try:
                write_page(self.run)
            except (OSError, InputError) as error:
                self.listener.say(f"the page could not be written: {str(error).rstrip('.')}. The training goes on")
        self._pass(_BETWEEN)

    def _pass(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self.last
        self.last = now
