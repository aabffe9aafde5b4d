"""Checksums, and zip files that can write nowhere but where they are told to."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from keras_unet3d.errors import InputError
from keras_unet3d.files import copy_file, opened, read_text, sha256, write_stream, write_text

SUMS = "SHA256SUMS"
_ROW = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f/\\]+)")
_MOST_BYTES = 4 * 2**30
_MOST_FILES = 1000
# Weights hardly get smaller: what grows to so many times the archive is none of ours, unless it is small anyway.
_MOST_GROWTH, _SMALL = 100, 2**26
_MOST_LETTERS = 255
# What a zip has for no time, and how much of a file is in memory.
_NO_TIME, _BLOCK = (1980, 1, 1, 0, 0, 0), 2**20
# What is raised on a broken archive.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` over every other file in `folder`, in the format of `sha256sum`."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    write_text(folder / SUMS, "".join(f"{sha256(path)}  {path.name}\n" for path in files))


def check_sums(folder: Path, only: str | None = None) -> int:
    """Compare every file (or `only` one) with `SHA256SUMS` and return how many were.

    Raises:
        InputError: a file that is missing, changed or not listed.
    """
    sums = _read_sums(folder)
    if only is None:
        # Hidden files are the file manager's (.DS_Store), and nothing here reads them.
        files = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {SUMS}
        for name in sorted(files ^ set(sums)):
            where = "the list but not in the folder" if name in sums else "the folder but not in the list"
            raise InputError(
                f"{folder / SUMS}: expected it to list every file, found {name} in {where}; get the bundle again."
            )
    names = sums if only is None else [only]
    for name in names:
        path = folder / name
        if name not in sums or path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: expected a file with a checksum, found none; get the bundle again.")
        if sha256(path) != sums[name]:
            raise InputError(
                f"{path}: expected the checksum in {SUMS}, found another one: the file was changed; get the bundle again."
            )
    return len(names)


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if path.is_symlink():
        raise InputError(f"{path}: expected the checksums of a bundle, found a link; get the bundle again.")
    try:
        text = read_text(path, "the checksums of a bundle")
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; get the bundle again.") from error
    lines = text.removesuffix("\n").split("\n")
    rows = [row for line in lines if (row := _ROW.fullmatch(line))]
    if not text.endswith("\n") or len(rows) < len(lines):
        raise InputError(f"{path}: expected the checksums of a bundle, found a broken list; get the bundle again.")
    return {row["name"]: row["digest"] for row in rows}


def copy_bundle(bundle: Path, folder: Path) -> None:
    """Copy the files of a bundle to a folder, and check them there; errors are as in `check_sums`."""
    for path in sorted(bundle.iterdir()):
        # Hidden files are the file manager's; folders and links are in no bundle.
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            copy_file(path, folder / path.name)
    check_sums(folder)


def zip_folder(folder: Path, target: Path) -> None:
    """Write the content of `folder` to `target`, paths relative to it; the same content makes the same archive."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo.from_file(path, path.relative_to(folder).as_posix())
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            member.date_time = _NO_TIME
            with opened(path, "a file") as file, archive.open(member, "w") as packed:
                while block := file.read(_BLOCK):
                    packed.write(block)


def unzip(source: Path, folder: Path) -> None:
    """Unpack `source` into `folder`.

    Raises:
        InputError: no zip file, a path that leaves the folder, a link, or more than anyone would ship.
    """
    with _opened_zip(source) as archive:
        members = archive.infolist()
        _refuse_hostile(source, members)
        for member in members:
            if not member.is_dir():
                with archive.open(member) as packed:
                    write_stream(folder / member.filename, packed)


def unzip_one(source: Path, name: str, target: Path) -> None:
    """Unpack the file `name` of `source` to `target`; raises `InputError` where there is none, or no zip file."""
    with _opened_zip(source) as archive:
        if name not in archive.namelist():
            raise InputError(f"{source}: expected {name} in it, found none; get it again.")
        with archive.open(name) as packed:
            write_stream(target, packed)


def names_in(source: Path) -> list[str]:
    """Return the names of the files in a zip; raises `InputError` where it is none."""
    with _opened_zip(source) as archive:
        return archive.namelist()


def read_members(source: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of some files of a zip by name; raises `InputError` as `unzip` does, and where one is missing."""
    with _opened_zip(source) as archive:
        _refuse_hostile(source, archive.infolist())
        for name in set(names) - {*archive.namelist()}:
            raise InputError(f"{source}: expected {name} in it, found none; get it again.")
        return {name: archive.read(name) for name in names}


@contextmanager
def _opened_zip(source: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with opened(source, "a zip file") as file, zipfile.ZipFile(file) as archive:
            yield archive
    except _BROKEN as error:
        # What the system says has a number; what a decoder says has none.
        if isinstance(error, InputError) or getattr(error, "errno", None):
            raise
        raise InputError(f"{source}: expected a zip file, found a broken one ({error}); get it again.") from error


def _refuse_hostile(source: Path, members: list[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    plausible = min(_MOST_BYTES, max(_SMALL, _MOST_GROWTH * source.stat().st_size))
    if len(members) > _MOST_FILES or size > plausible:
        raise InputError(f"{source}: expected a bundle, found an archive of implausible size; it was not unpacked.")
    files = {PurePosixPath(member.filename) for member in members if not member.is_dir()}
    for member in members:
        path = PurePosixPath(member.filename)
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        is_odd = not path.parts or any(len(part.encode()) > _MOST_LETTERS for part in path.parts)
        is_below_a_file = any(parent in files for parent in path.parents)
        is_elsewhere = path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename
        if is_odd or is_below_a_file or is_elsewhere or is_link:
            raise InputError(
                f"{source}: expected plain files inside the archive, found {member.filename!r}; it was not unpacked."
            )
