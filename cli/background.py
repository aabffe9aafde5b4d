"""Work of windows in processes of their own: one that holds a network, and one for a training.

TensorFlow and the software OpenGL of Mesa crash in one process (TensorFlow 2.21, llvmpipe of Mesa 22.3). Apart, a window also stays
alive, work can be stopped at any time, and a training has the memory of the GPU for itself.
"""

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from keras_unet3d.errors import InputError
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import kernels

# A fork would take over the state of the window.
_START = "spawn"
_STOPPED = "expected it to finish, found it stopped; press the button again"


class Background:
    """A process that holds the network it was last asked about; it begins with the first call, and ends with this one."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None
        # One call at a time.
        self._lock = threading.Lock()

    def call(self, function: Callable, model: str, *arguments: object, listener: Listener = SILENT) -> Any:
        """Return what a function returns for the predictor of a model, `arguments` and a listener.

        Raises:
            InputError: as the function does, or the process was ended.
        """
        with self._lock:
            return self._called(function, model, arguments, listener)

    def _called(self, function: Callable, model: str, arguments: tuple, listener: Listener) -> Any:
        if self._process is None or not self._process.is_alive():
            context: Any = multiprocessing.get_context(_START)
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            # Without a copy of that end here, its death is heard of.
            theirs.close()
        told: dict[str, Callable[..., None]] = {"say": listener.say, "progress": listener.progress}
        try:
            self._connection.send((function, model, arguments))
            while True:
                kind, values = self._connection.recv()
                if kind == "done":
                    return values
                if kind == "failed":
                    raise values
                told[kind](*values)
        except (EOFError, OSError) as error:
            raise InputError(f"{model}: {_STOPPED}.") from error

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.terminate()
            self._process.join()


def _serve(connection: Connection) -> None:
    """Answer calls until nobody is there any more."""
    kernels.prefer_fast_cpu_kernels()
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    listener = Listener(*(_teller(connection, kind) for kind in ("say", "progress")))
    loaded, predictor = None, None
    while True:
        try:
            function, model, arguments = connection.recv()
        except EOFError:
            return
        try:
            if loaded != model:
                loaded, predictor = model, zoo.predictor(model)
            connection.send(("done", function(predictor, *arguments, listener)))
        except InputError as error:
            connection.send(("failed", error))
        except Exception as error:
            # Not every error can be sent, nor its causes.
            connection.send(("failed", RuntimeError(f"{type(error).__name__}: {error}")))


def _teller(connection: Connection, kind: str) -> Callable[..., None]:
    return lambda *values: connection.send((kind, values))


def train(
    words: Sequence[str], say: Callable[[str], None], begun: Callable[[subprocess.Popen], None] = lambda process: None
) -> None:
    """Run a call of the command line in a process, and say its lines as they come.

    Args:
        words: of the call: "fit", then its arguments.
        say: is given one line at a time.
        begun: is given the process, which ends tidily by `terminate`.

    Raises:
        InputError: the call failed or was stopped; what it said last is the reason.
    """
    call, last = [sys.executable, "-m", "keras_unet3d.cli", *words], ""
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        begun(process)
        for line in process.stdout or ():
            last = line.rstrip()
            say(last)
    if process.returncode:
        raise InputError(f"training: expected it to finish, found: {last.removeprefix('unet3d-cli: ')}")
