"""The colours and names of a label volume as other programs read them: ITK-SNAP, 3D Slicer and Fiji."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_unet3d.files import write_bytes
from keras_unet3d.pictures.drawing import COLOURS

# Values that a look-up table of Fiji has, and those that ITK-SNAP and Slicer read.
_FIJI, _MOST = 2**8, 2**16


@dataclass(frozen=True)
class ClassColour:
    """A class as a label volume shows it: its raw value, its name, red, green and blue (0 to 255), and whether it is seen."""

    value: int
    name: str
    rgb: tuple[int, int, int]
    visible: bool


def class_colours(values: Sequence[int], names: Sequence[str], background: int | None) -> list[ClassColour]:
    """Return the colours that our pictures have for the classes, in their order; the raw value `background` is not seen."""
    return [
        ClassColour(value, name, _rgb(COLOURS[number % len(COLOURS)]), value != background)
        for number, (value, name) in enumerate(zip(values, names, strict=True))
    ]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def itk_snap(classes: Sequence[ClassColour]) -> bytes:
    """Return a label description of ITK-SNAP, in which 0 always stands for nothing."""
    lines = ["# ITK-SNAP label description: value, red, green, blue, opacity, visible, mesh, name"]
    if all(one.value for one in classes):
        lines.append('0 0 0 0 0 0 0 "Clear Label"')
    for one in classes:
        seen = int(one.visible)
        lines.append(f'{one.value} {_spaced(one.rgb)} {seen} {seen} {seen} "{_plain(one.name)}"')
    return _text(lines)


def slicer(classes: Sequence[ClassColour]) -> bytes:
    """Return a colour table of 3D Slicer; names have no spaces there."""
    lines = ["# Color table: value, name, red, green, blue, alpha"]
    for one in classes:
        lines.append(f"{one.value} {'_'.join(_plain(one.name).split())} {_spaced(one.rgb)} {255 * one.visible}")
    return _text(lines)


def fiji(classes: Sequence[ClassColour]) -> bytes:
    """Return a look-up table of Fiji: 256 reds, 256 greens, 256 blues; black where there is no class."""
    table = bytearray(3 * _FIJI)
    for one in classes:
        if one.visible:
            table[one.value :: _FIJI] = bytes(one.rgb)
    return bytes(table)


# Suffix of a file that a program reads -> what is in it, and how many values it has room for.
_FILES: Mapping[str, tuple[Callable[[Sequence[ClassColour]], bytes], int]] = {
    ".label.txt": (itk_snap, _MOST),
    ".ctbl": (slicer, _MOST),
    ".lut": (fiji, _FIJI),
}


def colour_files(stem: Path, classes: Sequence[ClassColour]) -> list[Path]:
    """Return the files that `write_label_colours` writes: those that have room for all values, none without classes."""
    return [
        stem.with_name(stem.name + suffix)
        for suffix, (_, room) in _FILES.items()
        if classes and all(0 <= one.value < room for one in classes)
    ]


def write_label_colours(stem: Path, classes: Sequence[ClassColour]) -> list[Path]:
    """Write the colours beside a label volume whose path without its suffix is `stem`, and return the files."""
    paths = colour_files(stem, classes)
    for path in paths:
        write_bytes(path, _FILES[path.name.removeprefix(stem.name)][0](classes))
    return paths


def _spaced(rgb: tuple[int, int, int]) -> str:
    return " ".join(map(str, rgb))


def _plain(name: str) -> str:
    """Return the name as one line without quotes, which would end it."""
    return " ".join(name.replace('"', "'").split())


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
