"""What is seen of a command while it works: lines, and how far it is, or JSON; and how it is stopped."""

import json
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from keras_unet3d.cli.flags import error_with_flags, with_flags
from keras_unet3d.errors import InputError, without_secrets
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import hosts

# Characters that move the cursor, change colours or turn the line around: a stranger may have put them into a name.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Seconds after which a stop that was lost comes again.
_SOON = 0.05
# What a stop by Ctrl-C or by the system is called.
STOPPED = (KeyboardInterrupt, click.Abort)


def say(what: object, err: bool = False) -> None:
    """Print a text, or a path; what a terminal would obey instead of showing it is spelt out."""
    click.echo(printable(str(what)), err=err)


def printable(text: str) -> str:
    """Return the text with everything spelt out that a terminal would obey, or cannot show."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _HIDDEN and character not in "\n\t"
        else character
        for character in text
    )


def prepare_process() -> None:
    """Have this process show what its terminal's encoding lacks by escapes, and end by SIGTERM as by Ctrl-C: tidily."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sys.unraisablehook = _stop_again


def _stop_again(lost: "sys.UnraisableHookArgs") -> None:
    """Have a stop come again that hit where Python can raise nothing, as in a callback of its garbage collector."""
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(_SOON, signal.pthread_kill, [threading.main_thread().ident, signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(lost)


# How commands tell what they do: words for people, nothing, or a JSON object a line. Key of a click context's `meta`.
_MODE = "keras_unet3d.output"
# Seconds between two lines of JSON on how far a command is.
_EVERY = 5.0


def tell_in(context: click.Context, mode: str) -> None:
    """Have a command tell what it does in this mode: "words", "quiet" or "json"."""
    context.meta[_MODE] = mode


def _mode() -> str:
    context = click.get_current_context(silent=True)
    return context.meta.get(_MODE, "words") if context else "words"


@contextmanager
def live(phase: str) -> Iterator[Listener]:
    """Yield a listener that tells whoever called the command what it does, beginning with this phase of it.

    Of several processes that train together the first one does; the others are silent.
    """
    with _LISTENERS[_mode()](phase) as listener:
        yield listener


@contextmanager
def reported(stopped: str) -> Iterator[None]:
    """Have a command end by a line of JSON where JSON was asked for; `stopped` is what is said where it is stopped."""
    try:
        yield
    except STOPPED as stop:
        _end(f"stopped; {str(stop) or stopped}")
        raise click.Abort(str(stop) or stopped) from stop
    except InputError as error:
        _end(error_with_flags(str(error)))
        raise
    except Exception as error:
        _end(f"{type(error).__name__}: {error}")
        raise
    _end()


def _end(error: str | None = None) -> None:
    if _mode() == "json":
        _event("done") if error is None else _event("error", text=without_secrets(error))


def _event(kind: str, **values: object) -> None:
    if hosts.leads():
        click.echo(json.dumps({"event": kind, **values}))


@contextmanager
def _quiet(phase: str) -> Iterator[Listener]:
    yield SILENT


@contextmanager
def _json_lines(phase: str) -> Iterator[Listener]:
    """Yield a listener that prints an object for every line, phase and figure, and now and then how far the work is."""
    state: dict = {"told": 0.0, "step": {}}

    def progress(done: int, of: int) -> None:
        now = time.monotonic()
        if done == of or now - state["told"] > _EVERY:
            state["told"] = now
            _event("progress", done=done, of=of, **state["step"])

    def figures(kind: str, values: Mapping) -> None:
        # Of a step there is one with every progress, which comes next.
        if kind == "step":
            state["step"] = values
        else:
            state["step"] = {}
            _event(kind, **values)

    def next_phase(name: str) -> None:
        state["step"] = {}
        _event("phase", phase=name)

    next_phase(phase)
    yield Listener(lambda line: _event("line", text=with_flags(line)), progress, next_phase, figures)


@contextmanager
def _words(phase: str) -> Iterator[Listener]:
    """Yield a listener that prints lines, and on a terminal shows below them what is done now, how far, and for how long still."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class WithFigures(Progress):
        """A bar, and under it a line of figures where there are any."""

        def get_renderables(self):
            yield self.make_tasks_table(self.tasks)
            yield from (Text(task.fields["figures"]) for task in self.tasks if task.fields["figures"])

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    hidden = not (console.is_terminal and hosts.leads())
    with WithFigures(*columns, console=console, transient=True, disable=hidden, refresh_per_second=2) as bar:
        task = bar.add_task(phase, total=None, figures="")

        def next_phase(name: str) -> None:
            bar.reset(task, total=None, description=name, figures="")

        def figures(kind: str, values: Mapping) -> None:
            if kind == "step":
                bar.update(task, figures=step_in_words(values))

        yield Listener(
            say=lambda line: console.print(printable(with_flags(line))),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
            phase=next_phase,
            figures=figures,
        )


_LISTENERS: dict[str, Callable] = {"words": _words, "quiet": _quiet, "json": _json_lines}


def step_in_words(step: Mapping) -> str:
    """Return the figures of a step of training for the line that shows how far it is."""
    figures = f"loss {step['loss']:.3f}, IoU {step['iou']:.3f}, input wait {step['waiting']:.0%}"
    return f"epoch {step['epoch']}/{step['epochs']}, step {step['step']}/{step['steps']}, {figures}"
