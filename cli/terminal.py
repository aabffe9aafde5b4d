"""What a person sees while a command works: lines, and a bar where the output is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from keras_unet3d.cli.flags import with_flags
from keras_unet3d.listener import Listener


@contextmanager
def live(what: str) -> Iterator[Listener]:
    """Yield a listener that prints lines, and shows on a terminal how much is done, `what` being counted."""
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
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield Listener(
            say=lambda line: console.print(with_flags(line)),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
