"""Partly labelled cohorts: in which files which label values were annotated."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from keras_unet3d.datasets.example import Example
from keras_unet3d.errors import InputError
from keras_unet3d.volumes import Volume

# Patterns of file names, and the raw values that were annotated in such files.
Rules = Mapping[str, tuple[int, ...]]


def parse_annotated(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the rules in texts like "b_*.nii.gz=0,2".

    Raises:
        InputError: anything else, or a pattern that occurs twice.
    """
    rules: dict[str, tuple[int, ...]] = {}
    for text in texts:
        pattern, equals, listed = text.rpartition("=")
        values = [value.strip() for value in listed.split(",")]
        if not equals or not pattern or not all(value.removeprefix("-").isdecimal() for value in values):
            raise InputError(
                "annotated: expected a pattern of file names with the label values that were annotated there, like "
                f"b_*.nii.gz=0,2; found {text!r}."
            )
        if pattern in rules:
            raise InputError(f"annotated: expected every pattern once, found {pattern!r} again.")
        rules[pattern] = tuple(int(value) for value in values)
    return rules


def annotated_in(rules: Rules, examples: Sequence[Example]) -> list[tuple[int, ...] | None]:
    """Return the raw values that were annotated in every example, None for all.

    A pattern is compared with the names of the image's and of the label's file, and with their whole paths.

    Raises:
        InputError: a pattern that fits no file, or two patterns of other values that fit one.
    """
    fitting = [[pattern for pattern in rules if _fits(pattern, example)] for example in examples]
    for pattern in rules:
        if not any(pattern in patterns for patterns in fitting):
            raise InputError(f"annotated: expected files that fit {pattern!r}, found none; correct the pattern.")
    for example, patterns in zip(examples, fitting, strict=True):
        if len({frozenset(rules[pattern]) for pattern in patterns}) > 1:
            raise InputError(
                f"annotated: expected one pattern for {example.name}, found {' and '.join(patterns)}, which say different "
                "things; leave one of them out."
            )
    return [rules[patterns[0]] if patterns else None for patterns in fitting]


def _fits(pattern: str, example: Example) -> bool:
    return any(fnmatchcase(name, pattern) for name in (example.name, *_names(example.image), *_names(example.label)))


def _names(volume: Volume) -> Iterator[str]:
    if volume.path:
        yield from (volume.path.name, str(volume.path))
