"""The one exception that means: what the user gave was wrong."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A sentence for the user: what file or argument, what was expected, what was found, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def refuse(faults: Iterable[str]) -> None:
    """Raise an `InputError` for the first of `faults`, if there is any."""
    for fault in faults:
        raise InputError(fault)


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Note an `InputError` that is raised within the block in `faults`, and continue after the block."""
    try:
        yield
    except InputError as error:
        faults.append(str(error))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' where `word` resembles a known one, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
