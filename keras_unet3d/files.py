"""Output appears whole or not at all, and never over something that is there already."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_unet3d.errors import InputError


def refuse_existing(path: Path, overwrite: bool, what: str = "output") -> None:
    """Raise `InputError` if the file `path` is there and may not be written over, or cannot be made."""
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write the {what} to, found a folder; choose another path.")
    _refuse_file_above(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path}: the {what} exists already; choose another path or add `overwrite=True`.")


def refuse_existing_folder(
    path: Path, overwrite: bool, what: str, marks: tuple[str, ...], instead: str = "`overwrite=True`"
) -> None:
    """Raise `InputError` if the folder `path` holds anything and may not be replaced, or cannot be made.

    Only a folder that holds the files `marks` may be replaced: the path may be mistyped. `instead` are the options that
    do something else about it.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: expected a folder to write the {what} to, found a file; choose another path.")
    _refuse_file_above(path)
    if not path.is_dir() or not any(path.iterdir()):
        return
    missing = [name for name in marks if not (path / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: expected an earlier {what} to overwrite, or an empty folder, found a folder without {missing[0]}; "
            "choose another path."
        )
    if not overwrite:
        raise InputError(f"{path}: the {what} exists already; choose another path or add {instead}.")


def _refuse_file_above(path: Path) -> None:
    for parent in path.parents:
        if parent.is_file():
            raise InputError(f"{path}: expected a path inside folders, found the file {parent}; choose another path.")


def overlapping(first: Path, second: Path) -> bool:
    """Return whether the paths are the same, or one of them lies in the other."""
    first, second = first.resolve(), second.resolve()
    return first == second or first in second.parents or second in first.parents


def refuse_unwritable(path: Path, needed: int) -> None:
    """Raise `InputError` if nothing can be written at `path`, or less than `needed` bytes."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(
            f"{path}: expected a place to write to, found {existing} write-protected; choose another path."
        )
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(
            f"{path}: expected {_megabytes(needed)} of free space, found {_megabytes(free)}; make room, or choose another path."
        )


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed left half-written in `folder`."""
    for path in folder.rglob(".????????.partial.*"):
        if path.is_file():
            path.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only if nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept in full, because writers choose the format by it.
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial.{path.name}")
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Have what was written survive a loss of power too."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` only if nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial.{path.name}")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = path.with_name(f".{uuid.uuid4().hex[:8]}.old.{path.name}")
            path.rename(old)
            try:
                partial.rename(path)
            except BaseException:
                old.rename(path)
                raise
            shutil.rmtree(old)
        else:
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in `path`; raises `InputError` where it is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, found no such file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected {what} in JSON, found something unreadable ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected {what}, a JSON object; found a {type(value).__name__}.")
    return value
