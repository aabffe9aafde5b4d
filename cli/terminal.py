"""What a person sees while a command works: lines, and a bar where the output is a terminal; and how a command is stopped."""

import signal
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import click

from keras_unet3d.cli.flags import with_flags
from keras_unet3d.listener import Listener
from keras_unet3d.machine import hosts

# Characters that move the cursor, change colours or turn the line around: a stranger may have put them into a name.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
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


@contextmanager
def live(what: str) -> Iterator[Listener]:
    """Yield a listener that prints lines, and shows on a terminal how much is done, `what` being counted.

    Of several processes that train together the first one does; the others are silent.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (console.is_terminal and hosts.leads())
    ) as bar:
        task = bar.add_task(what, total=None)
        yield Listener(
            say=lambda line: console.print(printable(with_flags(line))),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
