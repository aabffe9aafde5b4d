"""Who hears of long work as it goes: nobody, unless the caller says otherwise."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_unet3d.errors import InputError, shown


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

    def __post_init__(self) -> None:
        for name in ("say", "progress"):
            if not callable(getattr(self, name)):
                raise InputError(f"{name}: expected a function, found {shown(getattr(self, name))}.")


SILENT = Listener()
