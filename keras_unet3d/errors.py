"""The one exception that means: what the user gave was wrong."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A sentence for the user: what file or argument, what was expected, what was found, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' where `word` resembles a known one, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
