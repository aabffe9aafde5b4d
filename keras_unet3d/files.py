"""The one place through which files are read, written and replaced.

Output appears whole or not at all, never over something that is there already, and one process at a time writes a place.
What a process that was killed left half-written is removed by the next one that writes the same place.
"""

import csv
import glob
import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from keras_unet3d.errors import PARTIAL, InputError, reason_of, room_for, writing
from keras_unet3d.locks import is_lock, locked
from keras_unet3d.places import Place, Url, is_collapsed, overlapping_urls

_OLD = ".old."
# What the name of a download begins with until all of it is here; it stays when the process dies.
_UNFINISHED = ".unfinished."
# Most disks give room in such blocks.
_BLOCK = 4096


# ---- what is there already -----------------------------------------------------------------------


def refuse_existing(path: Path, overwrite: bool, what: str = "output") -> None:
    """Raise `InputError` if the file `path` is there and may not be written over, or cannot be made."""
    with writing(path):
        if path.is_dir():
            raise InputError(f"{path}: expected a file to write the {what} to, found a folder; choose another path.")
        _refuse_odd(path)
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
    with writing(path):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: expected a folder to write the {what} to, found a file; choose another path.")
        _refuse_odd(path)
        _refuse_file_above(path)
        if is_empty(path):
            return
    missing = [name for name in marks if not (path / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: expected an earlier {what} to overwrite, or an empty folder, found a folder without {missing[0]}; "
            "choose another path."
        )
    if not overwrite:
        raise InputError(f"{path}: the {what} exists already; choose another path or add {instead}.")


def is_empty(folder: Path) -> bool:
    """Return whether there is nothing in a folder, or no such folder; who writes it does not count."""
    return not folder.is_dir() or not any(not is_lock(path) for path in folder.iterdir())


def _refuse_odd(path: Path) -> None:
    is_dangling = path.is_symlink() and not path.exists()
    if is_dangling or (path.exists() and not path.is_file() and not path.is_dir()):
        odd = "a link that leads nowhere" if is_dangling else "a device or a pipe"
        raise InputError(f"{path}: expected a path for a new output, found {odd}; choose another path.")


def _refuse_file_above(path: Path) -> None:
    for parent in path.parents:
        if parent.is_file():
            raise InputError(f"{path}: expected a path inside folders, found the file {parent}; choose another path.")


def overlapping(first: Place, second: Place) -> bool:
    """Return whether the paths, or URLs, are the same, or one of them lies in the other."""
    if isinstance(first, Url) or isinstance(second, Url):
        return overlapping_urls(first, second)
    first, second = resolved(first), resolved(second)
    return first == second or first in second.parents or second in first.parents


def resolved(path: Path) -> Path:
    """Return the path without links; raises `InputError` where they lead in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # before Python 3.13 a circle is a RuntimeError
        raise InputError(f"{path}: expected a path, found links that lead in a circle; check it.") from error


def refuse_unwritable(path: Path) -> None:
    """Raise `InputError` if nothing can be written at `path`, or somebody else writes there."""
    with claimed(path) as partial, writing(path):
        _try_to_write(partial)


def refuse_full(
    folder: Path, needed: int, purpose: str = "", instead: str = "make room, or choose another path"
) -> None:
    """Raise `InputError` if there are less than `needed` bytes on the disk of a folder, which need not be there yet."""
    with writing(folder):
        free = free_space(folder)
    if free < needed:
        raise InputError(
            f"{folder}: expected {_bytes(needed)} of free space{purpose and f' {purpose}'}, found {_bytes(free)}; {instead}."
        )


def free_space(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not be there yet."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(existing).free


def _bytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MB" if count >= 2**20 else f"{count / 2**10:,.0f} kB"


# ---- whole or not at all -------------------------------------------------------------------------


@contextmanager
def whole_file(path: Path, overwrite: bool = True, what: str = "output") -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only if nothing went wrong.

    Enter it before long work: it raises at once where the place is taken or cannot be written.

    Raises:
        InputError: a file that may not be replaced, a place that cannot be written or that another process writes, or no
            more room.
    """
    with claimed(path) as partial:
        refuse_existing(path, overwrite, what)
        with writing(path):
            _try_to_write(partial)
        try:
            with room_for(path):
                yield partial
                _to_disk(partial)
                os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(
    path: Path, overwrite: bool = True, what: str = "output", marks: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` only if nothing went wrong.

    `marks` and errors are as in `refuse_existing_folder` and `whole_file`.
    """
    with claimed(path) as partial:
        refuse_existing_folder(path, overwrite, what, marks)
        with writing(path):
            _try_to_write(partial)
            partial.mkdir()
        try:
            with room_for(path):
                yield partial
                replace_folder(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _try_to_write(path: Path) -> None:
    """Raise what the system says where nothing can be written to `path`: permissions tell neither of full nor of system disks."""
    try:
        path.write_bytes(bytes(_BLOCK))
    finally:
        path.unlink(missing_ok=True)


def replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another. Killed between the two steps, the next process brings the old one back."""
    old = _beside(path, _OLD)
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    with suppress(OSError):  # it is another user's: the next one is told
        _remove(old)


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Yield a free path beside `path` that is this process's alone, and make the folders above; tidy up after dead processes."""
    if path.name in ("", ".."):
        raise InputError(f"{path}: expected the name of a new file or folder, found none; give it one.")
    with made_folder(path.parent, path), locked(_lock(path), path):
        _tidy(path)
        yield _beside(path, PARTIAL)


def _beside(path: Path, mark: str) -> Path:
    return path.with_name(f"{mark}{path.name}")


def _tidy(path: Path) -> None:
    """Remove what a process that was killed left of writing `path`, or bring back what it was about to replace."""
    old = _beside(path, _OLD)
    with writing(path):
        _remove(_beside(path, PARTIAL))
    with writing(old):
        if path.exists():
            _remove(old)
        elif old.exists():
            old.rename(path)


def remove_remains(path: Path) -> None:
    """Remove all that processes that were killed left of writing `path`, which nobody else writes now."""
    if path.parent.is_dir():
        _tidy(path)
        with writing(path):
            _remove(_lock(path))
            # Versions up to 0.2 put a number first.
            for partial in path.parent.glob(f".????????{PARTIAL}{glob.escape(path.name)}"):
                _remove(partial)


def tidy(path: Path) -> None:
    """Remove what a process that was killed left of writing `path`, where nobody writes it now and we may."""
    with suppress(InputError), claimed(path):
        pass


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def made_folder(folder: Path, place: Path) -> Iterator[None]:
    """Have a folder and those above it; what was made of them and is empty afterwards is taken away again.

    `place` is what an error names.
    """
    if is_collapsed(place):
        url = str(place).replace(":/", "://", 1)
        raise InputError(f"{url}: expected a path on a disk, found a URL; only Zarr volumes may be in a store.")
    with writing(place):
        made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        _refuse_file_above(place)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for parent in made:
            with suppress(OSError):  # it is not empty: that is as it should be
                parent.rmdir()


def _to_disk(path: Path) -> None:
    """Have what was written survive a loss of power too."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_path(path: Path) -> None:
    """Remove a file or folder, where there is one; a folder vanishes at once, so that nobody finds half of it."""
    with writing(path):
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
    with claimed(path) as partial, writing(path):
        path.rename(partial)
        shutil.rmtree(partial)


def move(path: Path, target: Path) -> None:
    """Give a file or folder another path on the same disk, where there is one; the folder of `target` is made."""
    with writing(target):
        if path.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    place, instead = temporary_place(), "make room there, or set TMPDIR to another folder"
    with room_for(place, instead), tempfile.TemporaryDirectory(prefix="keras-unet3d-") as folder:
        yield Path(folder)


def on_disk(path: Place) -> Path:
    """Return the path; for what is in a store, one where the system has temporary files."""
    return path if isinstance(path, Path) else temporary_place() / path.name


def temporary_place() -> Path:
    """Return the folder that the system has for temporary files."""
    return Path(tempfile.gettempdir())


def unnamed_file(folder: Path, size: int) -> IO[bytes]:
    """Return an open file of `size` bytes on the disk of `folder`, which is gone when it is closed or the process dies."""
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
        # The whole file is claimed now: if the disk were full later, writing to a map of it would kill the process.
        claim = getattr(os, "posix_fallocate", None)  # some systems have no such call
        try:
            claim(file.fileno(), 0, size) if claim else file.truncate(size)
        except BaseException:
            file.close()
            raise
        return file


@contextmanager
def continued_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield an open file with what was written of `path` before, at its end; it takes the place of `path` if nothing went wrong.

    Otherwise what was written stays, for the next call to continue.

    Raises:
        InputError: a place that cannot be written or that another process writes, or no more room.
    """
    unfinished = _beside(path, _UNFINISHED)
    with made_folder(path.parent, path), locked(_lock(path), path):
        with writing(path):
            file = unfinished.open("ab")
        try:
            with room_for(path), file:
                yield file
        except BaseException:
            if not unfinished.stat().st_size:
                unfinished.unlink()
            raise
        with writing(path):
            _to_disk(unfinished)
            os.replace(unfinished, path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Return indented JSON; raises `ValueError` for numbers that JSON does not have."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all: a line per row under the names of the first one; None is empty."""
    lines = io.StringIO()
    table = csv.DictWriter(lines, [*rows[0]], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, lines.getvalue())


def table_writer(path: Path) -> Callable[[Path, Mapping[str, np.ndarray]], None]:
    """Return what writes columns as a table, whole or not at all, in the format of the suffix of `path`; ask before long work.

    Raises:
        InputError: another suffix than .csv and .parquet, or the latter without the package pyarrow.
    """
    if path.suffix.lower() not in _TABLES:
        raise InputError(f"{path}: expected a table ending in {' or '.join(_TABLES)}, found {path.name!r}.")
    return _TABLES[path.suffix.lower()]()


def _csv_writer() -> Callable[[Path, Mapping[str, np.ndarray]], None]:
    def write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
        lines = io.StringIO()
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(columns)
        table.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_text(path, lines.getvalue())

    return write


def _parquet_writer() -> Callable[[Path, Mapping[str, np.ndarray]], None]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "Parquet: expected the package pyarrow, found none; run pip install 'keras-unet3d[parquet]', or write .csv."
        ) from error

    def write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
        with whole_file(path) as partial:
            pyarrow.parquet.write_table(pyarrow.table(dict(columns)), partial)

    return write


# Suffix of a table -> what returns its writer.
_TABLES = {".csv": _csv_writer, ".parquet": _parquet_writer}


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: expected text, found characters that are none, {text[error.start]!r}.") from error
    write_bytes(path, content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as `.npy`, whole or not at all."""
    # NumPy says no reason where it writes to a file itself.
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as `.npz`, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_bytes(path, content.getvalue())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with opened(source, "a file") as file:
        write_stream(target, file)


def write_stream(path: Path, source: IO[bytes]) -> None:
    """Write all that can be read of an open file, whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as file:
        shutil.copyfileobj(source, file)


# ---- reading -------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path, what: str) -> Iterator[io.BufferedReader]:
    """Yield a file, open for reading bytes; `what` it is expected to be.

    Raises:
        InputError: no such file, something else than a file, or one that may not be read.
    """
    try:
        # Pipes and devices have no end.
        is_plain = path.is_file() or not path.exists()
        if is_plain:
            file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, found no such file.") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "a path that cannot be"
        raise InputError(f"{path}: expected {what}, found {reason}.") from error
    if not is_plain:
        raise InputError(f"{path}: expected {what}, found {'a folder' if path.is_dir() else 'no plain file'}.")
    with file:
        yield file


def read_bytes(path: Path, what: str) -> bytes:
    """Return what is in a file; errors are as in `opened`."""
    with opened(path, what) as file:
        return file.read()


def read_text(path: Path, what: str) -> str:
    """Return what is in a file of UTF-8; errors are as in `opened`."""
    try:
        return read_bytes(path, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected {what}, found bytes that are no text (UTF-8).") from error


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with opened(path, "a file") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole_zip(path: Path) -> bool:
    """Return whether a file is a zip of which every part is in order."""
    try:
        with opened(path, "a zip file") as file, zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except Exception:  # of a broken one anything is raised
        return False


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in `path`; raises `InputError` where it is missing or is no JSON object."""
    return parse_json(read_text(path, what), str(path), what)


def parse_json(text: str, source: str, what: str) -> dict[str, Any]:
    """Return the JSON object in a text that is from `source`; raises `InputError` where it is none."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise InputError(f"{source}: expected {what} in JSON, found brackets nested beyond all reason.") from None
    except ValueError as error:
        raise InputError(f"{source}: expected {what} in JSON, found something unreadable ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{source}: expected {what}, a JSON object; found a {type(value).__name__}.")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits)


def read_array(path: Path, what: str) -> np.ndarray:
    """Return the array in a `.npy` file; no code in it is run, and nothing larger than the file is made."""
    try:
        with opened(path, what):
            # A map is refused where the header promises more than the file holds.
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except InputError:
        raise
    except Exception as error:
        # NumPy raises anything from ValueError to TokenError on a broken header.
        raise InputError(f"{path}: expected {what}, found a broken one.") from error


def read_arrays(path: Path, what: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """Return the arrays in a `.npz` file whose names are `wanted`, in their order; no code in it is run."""
    try:
        with opened(path, what) as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if wanted(name)}
    except InputError:
        raise
    except Exception as error:
        # NumPy raises anything from BadZipFile to EOFError on a broken file.
        raise InputError(f"{path}: expected {what}, found something unreadable ({error}).") from error
