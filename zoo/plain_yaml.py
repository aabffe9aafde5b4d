"""YAML that a stranger wrote: plain values, of a reasonable number."""

from typing import Any

import yaml  # type: ignore[import-untyped]

from keras_unet3d.errors import InputError

# Of a configuration or a description; a few hundred letters of YAML can stand for billions of entries.
_MOST_ENTRIES, _MOST_LETTERS = 20_000, 50_000


def parse_yaml(text: str, source: str, what: str) -> dict:
    """Return the entries that YAML has; no objects are made of it but plain ones.

    Raises:
        InputError: no YAML, or more than anyone would write; it names the `source`, and `what` was expected.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            f"{source}: expected {what}, YAML, found none ({' '.join(str(error).split())[:200]})."
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{source}: expected {what}, found no entries in it.")
    if not _is_plain(value):
        raise InputError(f"{source}: expected {what}, found more than anyone would write; get it again.")
    return value


def _is_plain(value: Any) -> bool:
    """Return whether values are of a reasonable number and length, aliases written out."""
    rest, count = [value], 0
    while rest and count <= _MOST_ENTRIES:
        each = rest.pop()
        count += 1
        if isinstance(each, dict):
            rest += [*each, *each.values()]
        elif isinstance(each, list | tuple | set):
            rest += each
        elif (isinstance(each, str) and len(each) > _MOST_LETTERS) or (type(each) is int and abs(each) >= 2**63):
            return False
    return not rest
