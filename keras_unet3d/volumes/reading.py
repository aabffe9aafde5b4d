"""What all readers share: broken files and voxels that are no numbers, each refused in one sentence."""

import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError, did_you_mean


class MissingKey(InputError):
    """A file that is in order, but has no volume of the name that was asked for."""


def missing_key(path: Path, key: str, names: Sequence[str], is_group: bool) -> InputError:
    """Return the error for a file that holds volumes of the given names, where `key` is none of them or is a group."""
    kind = InputError if is_group else MissingKey
    return kind(
        f"{path}: expected a data set {key!r}, found {', '.join(names) or 'none'}; "
        f"name it by `raw_key`, `label_key` or `weight_key`.{did_you_mean(key, names)}"
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the format libraries raise on a broken file into one sentence."""
    kind = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    try:
        yield
    except InputError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        struct.error,
        ElementTree.ParseError,
        KeyError,
        RuntimeError,
        IndexError,
        TypeError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected a readable {kind} volume, found a broken or truncated file "
            f"({reason}); copy it again from its source."
        ) from error
    except Exception as error:
        # These libraries raise classes of their own, which derive from Exception alone.
        if type(error).__module__.split(".")[0] not in ("nibabel", "tifffile", "imagecodecs", "zarr", "numcodecs"):
            raise
        raise InputError(
            f"{path}: expected a readable {kind} volume, found a broken file ({error}); copy it again from its source."
        ) from error


def refuse_non_numbers(path: Path | str, dtype: np.dtype) -> None:
    """Raise `InputError` unless voxels of that type are integers, floats or truth values."""
    if dtype.kind not in "uifb":
        raise InputError(f"{path}: expected numbers, found voxels of type {dtype}; save them as integers or floats.")
