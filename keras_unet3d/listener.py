"""Who hears of long work as it goes: nobody, unless the caller says otherwise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from keras_unet3d.errors import InputError, shown


def _nothing(*_: object) -> None:
    """Hear of it, and do nothing."""


@dataclass(frozen=True)
class Listener:
    """What is told about work under way; silent by default.

    Attributes:
        say: is given one line at a time; `Listener(print)` prints them.
        progress: is given how much is done, and how much there is in all.
        phase: is given the name of what comes next, of which progress is then.
        figures: is given the kind of something that is done, and its figures: of every "step" and "epoch" of a training, and of
            every "volume" that is predicted.
    """

    say: Callable[[str], None] = _nothing
    progress: Callable[[int, int], None] = _nothing
    phase: Callable[[str], None] = _nothing
    figures: Callable[[str, Mapping], None] = _nothing

    def __post_init__(self) -> None:
        for field in fields(self):
            if not callable(getattr(self, field.name)):
                raise InputError(f"{field.name}: expected a function, found {shown(getattr(self, field.name))}.")


SILENT = Listener()
