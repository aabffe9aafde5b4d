"""What all readers share: broken files, files that cannot hold what they declare, voxels that are no numbers."""

import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.geometry import Box
from keras_unet3d.places import Place, reached
from keras_unet3d.words import some

# Packages whose errors speak of files, like an `OSError`; those of Python speak of the program.
_LIBRARIES = {"nibabel", "tifffile", "imagecodecs", "zarr", "numcodecs", "pydicom", "liffile"}
# Bytes of voxels that a stored byte may stand for where chunks that nobody wrote take no room: labels of 2048 x 2048 x 2048
# voxels with a single chunk of annotations stay below it.
MOST_SPARSE = 2**21
# What the smallest file takes on a disk; so that an array of usual size in which nobody wrote yet is legal.
_DISK_BLOCK = 4096


class MissingKey(InputError):
    """A file that is in order, but has no volume of the name that was asked for."""


def missing_key(path: Place, key: str, names: Sequence[str], is_group: bool) -> InputError:
    """Return the error for a file that holds volumes of the given names, where `key` is none of them or is a group."""
    kind = InputError if is_group else MissingKey
    return kind(
        f"{path}: expected a data set {key!r}, found {some(names) or 'none'}; "
        f"name it by `raw_key`, `label_key` or `weight_key`.{did_you_mean(key, names)}"
    )


@contextmanager
def readable(path: Place) -> Iterator[None]:
    """Turn whatever is raised while a file is opened or read into one sentence: it belongs to that file alone.

    Too little memory and a package that is missing say nothing about the file.
    """
    try:
        with reached(path):
            yield
    except (InputError, MemoryError, ImportError):
        raise
    except Exception as error:
        kind = "".join(Path(path.name).suffixes[-2:]) if path.suffix == ".gz" else path.suffix
        raise InputError(f"{path}: expected a readable {kind} volume, found {_fault(path, error)}.") from error


def _fault(path: Place, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno).lower()
        return f"that the system does not give it ({reason}); check the path, who may read it, and whether it is in use"
    reason = (str(error).splitlines() or [""])[0]
    # HDF5 says in brackets why, and before them which of its functions says so.
    reason = re.sub(r"^.*synchronously [^(]*\((.*)\)$", r"\1", reason)
    speaks = isinstance(error, OSError) or type(error).__module__.split(".")[0] in _LIBRARIES
    why = f" ({reason})" if speaks and reason and path.name not in reason else ""
    return f"a broken or truncated file{why}; copy it again from its source"


def refuse_hollow(name: Path | str, declared: int, sizes: Iterable[int], ratio: int = 1) -> None:
    """Raise `InputError` where files declare more than they can hold: nobody need wait, or claim memory, for that.

    Args:
        name: what the message calls the volume.
        declared: bytes that the voxels take by the header.
        sizes: bytes of the files that hold them, asked for only until they are enough.
        ratio: how many bytes of voxels one of those bytes may stand for.
    """
    needed, stored, room = -(-declared // ratio), 0, 0
    for size in sizes:
        stored += size
        room += size if ratio == 1 else max(size, _DISK_BLOCK)
        if room >= needed:
            return
    raise InputError(
        f"{name}: expected {needed:,} bytes or more for the voxels that the header declares, found {stored:,}: the file "
        "is truncated, or its header wrong; copy it again from its source."
    )


def refuse_elsewhere(path: Path, file: Path) -> None:
    """Raise `InputError` unless `file`, which `path` names, is beside or below it: else it could be any on the disk."""
    if path.resolve().parent not in file.resolve().parents:
        raise InputError(
            f"{path}: expected voxels in files beside or below it, found them in {file}; copy that file there."
        )


def refuse_non_numbers(path: Path | str, dtype: np.dtype) -> None:
    """Raise `InputError` unless voxels of that type are integers, floats or truth values."""
    if dtype.kind not in "uifb":
        raise InputError(f"{path}: expected numbers, found voxels of type {dtype}; save them as integers or floats.")


def package(path: Path, name: str, extra: str) -> Any:
    """Return a package that not everybody needs; raises `InputError` where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = "none" if isinstance(error, ModuleNotFoundError) else f"one that does not load ({error})"
        raise InputError(
            f"{path}: expected the package {name}, found {reason}; run pip install 'keras-unet3d[{extra}]'."
        ) from error


def by_planes(shape: tuple[int, ...], plane: Callable[..., np.ndarray]) -> Callable[[Box], np.ndarray]:
    """Return a reader of an array that is stored plane by plane.

    Args:
        shape: of the array.
        plane: numbers along all axes but the last two -> the plane.
    """

    def read(index: Box) -> np.ndarray:
        *leading, rows, columns = index
        numbers = [range(*part.indices(size)) for part, size in zip(leading, shape, strict=False)]
        planes = [plane(*of)[rows, columns] for of in product(*numbers)]
        return np.stack(planes).reshape(*map(len, numbers), *planes[0].shape)

    return read
