"""The one way of validating: a frozen dataclass that is checked when it is made, and that can be made from a file.

Every field of a class that derives from `Validated` is checked by its type, its `choices`, its `least` and its `most`; the
class yields in `faults` whatever else is wrong. The same classes are read from JSON by `from_config` and written by
`config`. A function that is `validated` has its arguments checked by their types in the same way.
"""

import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from keras_unet3d.errors import InputError, did_you_mean, refuse, shown, with_article

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Kind = TypeVar("_Kind", bound="DataclassInstance")
_Function = TypeVar("_Function", bound=Callable)

# The largest seed that everything takes that is given one: NumPy's global generator has 32 bits.
MOST_SEED = 2**32 - 1


def option(
    default: Any, text: str, choices: Iterable[str] = (), least: float | None = None, most: float | None = None
) -> Any:
    """Return a field that is an option of the command line too, with its help `text` and the values that it may have."""
    return field(default=default, metadata={"help": text, "choices": tuple(choices), "least": least, "most": most})


def checked(
    default: Any = MISSING, choices: Iterable[str] = (), least: float | None = None, most: float | None = None
) -> Any:
    """Return a field that has one of the `choices`, or numbers from `least` to `most`; without a default it must be given."""
    return field(default=default, metadata={"choices": tuple(choices), "least": least, "most": most})


def validated(function: _Function) -> _Function:
    """Return the function with its arguments checked by their types; computed numbers count as if they were written."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given, hints = signature.bind(*args, **kwargs), _hints(function)
        for name in given.arguments.keys() & hints.keys():
            given.arguments[name] = argument(name, hints[name], given.arguments[name])
        return function(*given.args, **given.kwargs)

    return call  # type: ignore[return-value]  # it has the signature of `function`


def argument(name: str, hint: Any, value: Any) -> Any:
    """Return the value of the argument `name` as its type `hint` has it; raises `InputError` where it is of another."""
    value = _with_tuples(hint, value)
    if not _is_kind(hint, value):
        raise InputError(f"{name}: expected {_called(hint)}, found {shown(value)}.")
    return value


class Validated:
    """A frozen dataclass that raises `InputError` when a value is wrong; lists become tuples.

    Attributes:
        WHAT: what messages call it.
        COMPLETE: whether what it is read from must have every entry, those with a default included.
        ADDED: entries that earlier versions did not write, and that may be missing all the same.
    """

    def __init_subclass__(cls) -> None:
        """Have `help` show what the command line shows of every option."""
        super().__init_subclass__()
        # What the bases declare is fields already, what this class declares is to become some.
        declared = [vars(base).get("__dataclass_fields__", {}) for base in reversed(cls.__mro__)] + [vars(cls)]
        parts = {name: part for names in declared for name, part in names.items() if isinstance(part, Field)}
        texts = {name: part.metadata["help"] for name, part in parts.items() if "help" in part.metadata}
        if texts:
            listed = "".join(f"\n    {name}: {text}" for name, text in texts.items())
            cls.__doc__ = f"{inspect.getdoc(cls)}\n\nAttributes:{listed}\n"

    WHAT: ClassVar[str] = "settings"
    COMPLETE: ClassVar[bool] = False
    ADDED: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for entry, hint in _fields(type(self)):
            value = _with_tuples(hint, getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
            refuse(_field_faults(entry, hint, value))
        for part in reversed(type(self).__mro__):
            # Base classes first, which is the order of the fields.
            if own := vars(part).get("faults"):
                refuse(own(self))

    def faults(self) -> Iterator[str]:
        """Yield a sentence on everything that is wrong although each field is right by itself."""
        yield from ()

    def config(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload]  # every class that derives from this one is a dataclass

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str) -> Self:
        """Return the object that `config` describes; `source` is what messages call it.

        Raises:
            InputError: an unknown or missing entry, or a wrong one.
        """
        if not isinstance(config, Mapping):
            raise InputError(f"{source}: expected {cls.WHAT}, found {config!r}.")
        known = {entry.name: (entry, hint) for entry, hint in _fields(cls)}
        for name in config:
            if name not in known:
                raise InputError(
                    f"{source}: expected entries of {cls.WHAT}, found {name!r}.{did_you_mean(str(name), known)}"
                )
        values = {}
        for name, (entry, hint) in known.items():
            if name in config:
                values[name] = _read(hint, config[name], source)
            elif (cls.COMPLETE and name not in cls.ADDED) or (
                entry.default is MISSING and entry.default_factory is MISSING
            ):
                raise InputError(f"{source}: expected the entry {name!r} of {cls.WHAT}, found none.")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error


# Reading type hints is slow, and the same classes are made again and again.
_hints = functools.cache(typing.get_type_hints)


def _fields(kind: type) -> list[tuple[Field, Any]]:
    """Return every field of a class with its type."""
    hints = _hints(kind)
    return [(entry, hints[entry.name]) for entry in fields(kind)]


def narrowed(kind: type[_Kind], options: Any, **decided: Any) -> _Kind:
    """Return an object of the class `kind`: its fields as in `options`, where that has them, or as `decided` says."""
    shared = {entry.name for entry in fields(kind)} & {entry.name for entry in fields(options)}
    return kind(**{name: getattr(options, name) for name in shared} | decided)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types that a type allows, without None."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(part for part in parts if part is not type(None))


def plain_type(hint: Any) -> Any:
    """Return a field's type without "or None"."""
    return _alternatives(hint)[0]


def field_type(kind: type, name: str) -> Any:
    """Return the type of a field of a class, without "or None"."""
    return next(plain_type(hint) for entry, hint in _fields(kind) if entry.name == name)


def _validated_class(hint: Any) -> type[Validated] | None:
    kinds = (kind for kind in _alternatives(hint) if isinstance(kind, type) and issubclass(kind, Validated))
    return next(kinds, None)


def _read(hint: Any, value: Any, source: str) -> Any:
    """Return a value of JSON with objects of their classes where the type asks for them."""
    validated = _validated_class(hint)
    if validated is not None and isinstance(value, Mapping):
        return validated.from_config(value, source)
    hint = plain_type(hint)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_read(kind, part, source) for kind, part in zip(_parts(hint, len(value)), value, strict=False))
    return value


def _with_tuples(hint: Any, value: Any) -> Any:
    """Return `value` with tuples for lists where the type asks for tuples, and plain numbers for NumPy's."""
    if hint is Any or np.ndarray in _alternatives(hint):
        return value
    hint = plain_type(hint)
    if isinstance(value, np.generic | np.ndarray):
        # Numbers that were computed count as if they were written.
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return value
    if hint is tuple:
        return tuple(_with_tuples(None, part) for part in value)
    if typing.get_origin(hint) is tuple:
        return tuple(_with_tuples(kind, part) for kind, part in zip(_parts(hint, len(value)), value, strict=False))
    if typing.get_origin(hint) is Sequence:
        return [_with_tuples(typing.get_args(hint)[0], part) for part in value]
    return value


def _parts(hint: Any, count: int) -> Sequence[Any]:
    """Return the type of every entry of a tuple of `count` values."""
    parts = typing.get_args(hint)
    # Surplus values are kept, so that `_is_kind` refuses them by their number.
    return parts[:1] * count if parts[-1] is ... else (*parts, *parts[-1:] * (count - len(parts)))


# ---- what a value must be -----------------------------------------------------------------------


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


# Type -> whether a value is of it, what one is called, and what several are called.
_KINDS: dict[Any, tuple[Callable[[Any], bool], str, str]] = {
    Any: (lambda value: True, "anything", "anything"),
    bool: (lambda value: isinstance(value, bool), "true or false", "truth values"),
    int: (_is_whole, "a whole number", "whole numbers"),
    float: (_is_number, "a finite number", "finite numbers"),
    str: (lambda value: isinstance(value, str), "a text", "texts"),
    Path: (lambda value: isinstance(value, os.PathLike), "a path", "paths"),
    dict: (lambda value: isinstance(value, dict), "an object", "objects"),
    Mapping: (lambda value: isinstance(value, Mapping), "an object", "objects"),
    tuple: (lambda value: isinstance(value, tuple), "a list", "lists"),
    Callable: (lambda value: callable(value) and not isinstance(value, type), "a function", "functions"),
    # Whatever NumPy makes an array of.
    np.ndarray: (lambda value: hasattr(value, "__array__") or _is_list(value), "an array", "arrays"),
}
_COUNTS = {2: "two", 3: "three"}


def _is_kind(hint: Any, value: Any) -> bool:
    if isinstance(hint, types.UnionType):
        none = value is None and type(None) in typing.get_args(hint)
        return none or any(_is_kind(part, value) for part in _alternatives(hint))
    if typing.get_origin(hint) is Sequence:
        return _is_list(value) and all(_is_kind(typing.get_args(hint)[0], part) for part in value)
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, tuple) or (parts[-1] is not ... and len(value) != len(parts)):
            return False
        return all(_is_kind(kind, part) for kind, part in zip(_parts(hint, len(value)), value, strict=True))
    kind = typing.get_origin(hint) or hint
    return _KINDS[kind][0](value) if kind in _KINDS else isinstance(value, kind)


def _called(hint: Any) -> str:
    """Return what a message calls the values of a type."""
    return " or ".join(dict.fromkeys(_called_alone(part) for part in _named(hint)))


def _named(hint: Any) -> list[Any]:
    """Return the types to name in a message: a text that is a path is called a path."""
    parts = _alternatives(hint)
    return [part for part in parts if not (part is str and Path in parts)]


def _called_alone(hint: Any) -> str:
    if typing.get_origin(hint) is Sequence:
        return f"a list of {_several(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is tuple:
        first, *others = typing.get_args(hint)
        if others == [...]:
            return f"a list of {_several(first)}"
        axes = " (z, y, x)" if len(others) == 2 else ""
        return f"{_COUNTS.get(1 + len(others), 1 + len(others))} {_several(first)}{axes}"
    kind = typing.get_origin(hint) or hint
    if kind in _KINDS:
        return _KINDS[kind][1]
    return kind.WHAT if "WHAT" in vars(kind) else with_article(kind.__name__)


def _several(hint: Any) -> str:
    return " or ".join(_several_alone(part) for part in _named(hint))


def _several_alone(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "triples (z, y, x)"
    kind = typing.get_origin(hint) or hint
    return _KINDS[kind][2] if kind in _KINDS else f"{kind.__name__}s"


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in nested tuples."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, tuple):
            yield from _numbers(part)
        elif part is not None:
            yield part


def _field_faults(entry: Field, hint: Any, value: Any) -> Iterator[str]:
    """Yield a sentence where the field may not have this value."""
    if value is None and isinstance(hint, types.UnionType):
        return
    choices, least, most = (entry.metadata.get(name) for name in ("choices", "least", "most"))
    is_kind = _is_kind(hint, value)
    if is_kind and most is not None and any(number > most for number in _numbers(value)):
        yield f"{entry.name}: expected {_called(hint)} of at most {most}, found {shown(value)}."
    elif not is_kind or (least is not None and any(number < least for number in _numbers(value))):
        bound = "" if least is None else f" of at least {least}"
        yield f"{entry.name}: expected {_called(hint)}{bound}, found {shown(value)}."
    elif choices and isinstance(value, str) and value not in choices:
        yield f"{entry.name}: expected one of {', '.join(choices)}; found {shown(value)}.{did_you_mean(value, choices)}"
