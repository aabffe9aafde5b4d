"""Who hears of long work as it goes: nobody, unless the caller says otherwise."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing(*_: object) -> None:
    """Hear of it, and do nothing."""


@dataclass(frozen=True)
class Listener:
    """What is told about work under way; silent by default.

    Attributes:
        say: is given one line at a time; `Listener(print)` prints them.
        progress: is given how much is done, and how much there is in all.
    """

    say: Callable[[str], None] = _nothing
    progress: Callable[[int, int], None] = _nothing


SILENT = Listener()
