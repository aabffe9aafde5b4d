"""Fields of a settings class that are options too: what they are called, what they may be, what is said of a wrong one."""

import math
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.geometry import Triple


def option(default, text: str, choices: Iterable[str] = (), least: float | None = None):
    """Return a dataclass field with the help `text`, the values it may have, or the least one."""
    return field(default=default, metadata={"help": text, "choices": tuple(choices), "least": least})


def check_options(settings) -> None:
    """Raise `InputError` where a field of `settings` is not what its `option` is for; lists are made tuples."""
    hints = typing.get_type_hints(type(settings))
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(settings, each.name, value)
        _check(each, hints[each.name], value)


def refuse_unknown(settings: type, names: Iterable[str], source: str, command: str) -> None:
    """Raise `InputError` for a name that is no field of the class `settings`."""
    known = [each.name for each in fields(settings)]
    for name in names:
        if name not in known:
            raise InputError(
                f"{source}: expected names of options of {command}, found {name!r}.{did_you_mean(name, known)}"
            )


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What a value of each type of field looks like, and what it is called.
_KINDS: dict[object, tuple[Callable[[object], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (lambda value: (_is_whole(value) or isinstance(value, float)) and math.isfinite(value), "a finite number"),
    str: (lambda value: isinstance(value, str), "a text"),
    Triple: (
        lambda value: isinstance(value, tuple) and len(value) == 3 and all(map(_is_whole, value)),
        "three whole numbers (z, y, x)",
    ),
    tuple[int, ...]: (lambda value: isinstance(value, tuple) and all(map(_is_whole, value)), "a list of whole numbers"),
}


def plain_type(hint):
    """Return a field's type without "or None"."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _check(each: Field, hint, value) -> None:
    """Raise `InputError` where `value` is not what the field is for."""
    if value is None and isinstance(hint, types.UnionType):
        return
    is_kind, kind = _KINDS[plain_type(hint)]
    choices, least = each.metadata["choices"], each.metadata["least"]
    if not is_kind(value):
        raise InputError(f"{each.name}: expected {kind}, found {value!r}.")
    if choices and value not in choices:
        close = did_you_mean(value, choices)
        raise InputError(f"{each.name}: expected one of {', '.join(choices)}; found {value!r}.{close}")
    if least is not None and min(value if isinstance(value, tuple) else (value,)) < least:
        raise InputError(f"{each.name}: expected a number of at least {least}, found {value!r}.")
