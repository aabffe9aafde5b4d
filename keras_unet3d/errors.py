"""The one exception that means: what the user gave was wrong; and what the system says, in words."""

import difflib
import errno
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn


class InputError(ValueError):
    """A sentence for the user: what file or argument, what was expected, what was found, what to do.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, sentence: object = ""):
        super().__init__(without_secrets(str(sentence)))


# Of URLs, also such as were taken for a path: user and password, and a query, which may be a signature.
_SECRETS = re.compile(r"(?<=\w:/)(/?)[^/\s'\"@]*@|(?<=\w:/)([^\s'\"?]*)\?[^\s'\"]+")


def without_secrets(text: str) -> str:
    """Return the text without what may be secret in URLs."""
    for _ in range(2):  # one may have both
        text = _SECRETS.sub(r"\1\2", text)
    return text


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
            yield f"{name}: expected a list of {name}, found {shown(value)} in it."


def expect(name: str, value: object, kind: type, instead: str = "") -> None:
    """Raise `InputError` where the argument `name` is not of its `kind`; `instead` says what to do."""
    if not isinstance(value, kind):
        advice = instead and f"; {instead}"
        raise InputError(f"{name}: expected {with_article(kind.__name__)}, found {kind_of(value)}{advice}.")


# Types whose values are plain to see when they are printed.
_PLAIN = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set)
_LONGEST = 200


def shown(value: object) -> str:
    """Return what a message calls a wrong value: the value itself, or its type where that would not be plain to see."""
    text = repr(value) if type(value) in _PLAIN else ""
    return text if 0 < len(text) <= _LONGEST else kind_of(value)


def shortened(text: str) -> str:
    """Return what a message has of a text that a stranger may have written: one line, its beginning."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def kind_of(value: object) -> str:
    """Return what a message calls the type of a value, like "a list"; of a class its name."""
    return f"the class {value.__name__}" if isinstance(value, type) else with_article(type(value).__name__)


def with_article(word: str) -> str:
    """Return "a" or "an" and the word."""
    return f"{'an' if word[0] in 'AEIOUaeiou' else 'a'} {word}"


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


# ---- what the system says ------------------------------------------------------------------------

# What the name of a file begins with until it is whole.
PARTIAL = ".partial."
_NO_ROOM = {
    errno.ENOSPC: "the disk full",
    errno.EDQUOT: "the quota used up",
    errno.EFBIG: "it larger than a file may be here",
}
# The system's error -> what a person is told was found.
_REASONS = {
    errno.EACCES: "no permission for it",
    errno.EPERM: "no permission for it",
    errno.EROFS: "it write-protected",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.ELOOP: "links that lead in a circle, or a link where none may be",
    errno.ENOTDIR: "a file where a folder should be",
    errno.EISDIR: "a folder",
    errno.EEXIST: "something there that is no folder, perhaps a link that leads nowhere",
    errno.ENOENT: "a place where nothing can be made",
    errno.EIO: "a disk that fails",
    errno.EMFILE: "too many files open already",
    **_NO_ROOM,
}
# Whoever meets one of these was writing.
_WHILE_WRITING = {*_NO_ROOM, errno.EROFS, errno.EIO}


def reason_of(error: OSError) -> str:
    """Return what the system says in an `OSError`, in words that follow "found"."""
    return _REASONS.get(error.errno or 0) or f"a failure of the system ({error.strerror or error})"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors within, which are about writing `path`, into one sentence."""
    try:
        yield
    except OSError as error:
        _refuse_failed(path, error)


@contextmanager
def room_for(path: Path, instead: str = "make room, or choose another path") -> Iterator[None]:
    """Say in words that the disk is full, or that it fails, and what to do; other errors within are not about writing `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WHILE_WRITING:
            raise
        _refuse_failed(path, error, instead)


def _refuse_failed(path: Path, error: OSError, instead: str = "make room, or choose another path") -> NoReturn:
    # People know the name that a file gets in the end.
    path = Path(*(part.removeprefix(PARTIAL) for part in path.parts))
    if error.errno in _NO_ROOM:
        wanted, todo = "room for the result", instead
    else:
        wanted, todo = "a path that can be written to", "choose another path"
    raise InputError(f"{path}: expected {wanted}, found {reason_of(error)}; {todo}.") from error
