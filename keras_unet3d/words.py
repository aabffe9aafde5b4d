"""Numbers as people read them."""

from collections.abc import Collection, Iterable
from itertools import islice


def plural(count: int, noun: str) -> str:
    """Return "1 volume" or "3 volumes"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def by(sizes: Iterable[float], form: str = "") -> str:
    """Return sizes as "64 x 96 x 96"; `form` is how a number is written, like ".3g"."""
    return " x ".join(f"{size:{form}}" for size in sizes)


def gigabytes(count: float) -> str:
    """Return bytes as "1.2 GB"."""
    size = count / 2**30
    return f"{size:,.0f} GB" if size >= 10 else f"{size:.2g} GB"


def some(things: Collection[object], most: int = 5) -> str:
    """Return "1, 2, 3" for things; of more than `most` only the first, "1, 2, 3, ... and 80 more"."""
    if len(things) <= most:
        return ", ".join(map(str, things))
    return f"{', '.join(map(str, islice(things, 3)))}, ... and {len(things) - 3:,} more"
