"""Texts among the options that mean more than a word: amounts of memory, channels per level, axes."""

import math
from collections.abc import Iterator

from keras_unet3d.choices import ASKED_GREY_VALUES
from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.geometry import AXES, MOST_CHANNELS

# More volumes than that are better held out by a share.
MOST_FOLDS = 64

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int:
    """Return the bytes that a text like 4G, 512M or 1.5G means; raises `InputError` for any other."""
    number = text.upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in "KMGT" else ""
    try:
        count = float(number.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        count = 0
    if not 0 < count < math.inf:
        raise InputError(f"max_ram: expected an amount of memory like 4G or 500M, found {text!r}.")
    return int(count)


def parse_filters(text: str) -> tuple[int, ...]:
    """Return the channels per level in a text like 8,32,64,128; raises `InputError` for any other."""
    try:
        filters = tuple(int(part) for part in text.split(","))
    except ValueError:
        filters = ()
    if not filters or min(filters) < 1:
        raise InputError(f"filters: expected whole numbers of at least 1, like 8,32,64,128; found {text!r}.")
    if max(filters) > MOST_CHANNELS:
        raise InputError(f"filters: expected whole numbers of at most {MOST_CHANNELS}, found {max(filters)}.")
    return filters


def parse_grey_values(text: str) -> tuple[str, ...]:
    """Return the words in a text like "zscore" or "ct,none"; raises `InputError` for any other."""
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in ASKED_GREY_VALUES:
            raise InputError(
                f"grey_values: expected one of {', '.join(ASKED_GREY_VALUES)}, or one per channel, like ct,none; found "
                f"{word!r}.{did_you_mean(word, ASKED_GREY_VALUES)}"
            )
    if "sections" in words and len(words) > 1:
        raise InputError(f"grey_values: expected sections for all channels or for none, found {text!r}.")
    return words


def parse_fold(text: str) -> tuple[int, int]:
    """Return number and count in a text like 2/5; raises `InputError` for any other."""
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 2 <= int(of) <= MOST_FOLDS and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise InputError(f"fold: expected one of 2 to {MOST_FOLDS} parts, like 2/5, found {text!r}.")


def flip_faults(flips: str | None) -> Iterator[str]:
    """Yield a sentence where `flips` is not some of the axes, each once."""
    if flips is not None and (not set(flips) <= set(AXES) or len(set(flips)) < len(flips)):
        yield f"flips: expected some of the axes z, y and x, each once, like yx; found {flips!r}."
