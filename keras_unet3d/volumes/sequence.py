"""Image sequences: a folder of slices, a picture file each, in the order of the numbers in their names."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_bytes
from keras_unet3d.volumes.axes import in_order, order_of
from keras_unet3d.volumes.reading import by_planes, readable, refuse_non_numbers
from keras_unet3d.volumes.volume import Volume
from keras_unet3d.words import by

# Decoders fill what is missing with zeros, which would train and predict without a word: what whole files end in.
_ENDS = {"png": b"IEND\xaeB`\x82", "jpeg2k": b"\xff\xd9", "tiff": b""}
# Suffix -> the codec of the package imagecodecs.
CODECS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jp2": "jpeg2k", ".j2k": "jpeg2k"}


def open_sequence(path: Path, key: str | None, axes: str | None) -> Volume:
    files = _in_order(path)
    first = _read(files[0])
    shape = (len(files), *first.shape)
    order = order_of(path, shape, axes, "zyx")

    def plane(number: int) -> np.ndarray:
        slice_ = _read(files[number])
        if slice_.shape != first.shape or slice_.dtype != first.dtype:
            raise InputError(
                f"{files[number]}: expected {by(first.shape)} pixels of {first.dtype} like {files[0].name}, found "
                f"{by(slice_.shape)} of {slice_.dtype}; move what does not belong to the volume elsewhere."
            )
        return slice_

    zyx, channels, read = in_order(order, shape, by_planes(shape, plane))
    return Volume(str(path), zyx, channels, first.dtype, read, path=path, layout={"order": order}, packed=True)


def _read(file: Path) -> np.ndarray:
    import imagecodecs

    codec, content = CODECS[file.suffix.lower()], read_bytes(file, "a slice")
    with readable(file):
        if not content.endswith(_ENDS[codec]):
            raise EOFError
        pages = {"index": None} if codec == "tiff" else {}  # all of them: a stack is no slice
        picture = np.asarray(getattr(imagecodecs, f"{codec}_decode")(content, **pages))
    if picture.ndim != 2:
        raise InputError(
            f"{file}: expected a slice of grey values, found an array of shape {picture.shape}; give stacks by themselves, and "
            "colours in another format."
        )
    refuse_non_numbers(file, picture.dtype)
    return picture


def _in_order(folder: Path) -> list[Path]:
    """Return the slices of a folder, by the numbers in their names.

    Raises:
        InputError: names without numbers, or numbers that do not follow one another.
    """
    files = [file for file in folder.glob("[!.]*") if file.suffix.lower() in CODECS]
    suffixes = Counter(file.suffix.lower() for file in files)
    if len(suffixes) > 1:
        raise InputError(
            f"{folder}: expected slices of one format, found {', '.join(sorted(suffixes))}; take one apart."
        )
    numbers: dict[int, Path] = {}
    for file in sorted(files):
        digits = re.findall(r"\d+", file.stem)
        if not digits or int(digits[-1]) in numbers:
            raise InputError(
                f"{file}: expected a number in the name that says which slice it is, as no other has; rename it."
            )
        numbers[int(digits[-1])] = file
    present = sorted(numbers)
    steps = {after - before for before, after in pairwise(present)}
    if len(steps) > 1:
        missing = next(number for number in range(present[0], present[-1], min(steps)) if number not in numbers)
        raise InputError(
            f"{folder}: expected slices numbered in equal steps, found none of number {missing}; add what is missing."
        )
    return [numbers[number] for number in present]
