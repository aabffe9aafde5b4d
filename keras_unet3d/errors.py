"""The one exception that means: what the user gave was wrong."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """A sentence for the user: what file or argument, what was expected, what was found, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def refuse(faults: Iterable[str]) -> None:
    """Raise an `InputError` for the first of `faults`, if there is any."""
    for fault in faults:
        raise InputError(fault)


def list_faults(name: str, values: object, is_one: Callable[[Any], bool]) -> Iterator[str]:
    """Yield a sentence where the argument `name` is not a list of what `is_one` says."""
    if not isinstance(values, list | tuple):
        yield f"{name}: expected a list, found a {type(values).__name__}."
        return
    for value in values:
        if not is_one(value):
            yield f"{name}: expected a list of {name}, found {value!r} in it."


def expect(name: str, value: object, kind: type, instead: str = "") -> None:
    """Raise `InputError` where the argument `name` is not of its `kind`; `instead` says what to do."""
    if not isinstance(value, kind):
        given = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InputError(f"{name}: expected {article} {kind.__name__}, found {given}{instead and f'; {instead}'}.")


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
