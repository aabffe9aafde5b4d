"""What a person sees while a command works: lines, and a bar where the output is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def live(what: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Yield `say` (prints a line) and `progress` (steps done, steps in all; shown as a bar on a terminal)."""
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
        yield console.print, lambda done, of: bar.update(task, completed=done, total=of)
