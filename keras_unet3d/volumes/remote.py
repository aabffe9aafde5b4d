"""Zarr in a store that fsspec knows: how it is read by chunks, and how a whole one takes its place.

A store has no folders that could be renamed, and no locks. So a new volume is written under another name first. Then the
earlier one goes, the chunks are copied within the store, and the metadata come last, that of the whole at the very end:
until then nobody can open what is there.
"""

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_unet3d.errors import PARTIAL, InputError
from keras_unet3d.places import OPTIONS, Place, Url, is_cut, reached

# A folder that holds one of these is Zarr: of format 3, and of format 2 an array or a group.
MARKS = ("zarr.json", ".zarray", ".zgroup")
_METADATA = (*MARKS, ".zattrs", ".zmetadata")
# A chunk is asked for so often where the connection is cut, after a pause of so many seconds.
_ATTEMPTS, _PAUSE = 4, 0.5
# Bytes of chunks, as they are stored, that are kept for the next tiles.
MOST_KEPT = 2**28


def store_at(url: Url, read_only: bool) -> Any:
    """Return the store of a Zarr folder, as the package zarr wants it."""
    with reached(url):
        return _store_class().from_url(str(url), storage_options=OPTIONS, read_only=read_only)


@functools.cache
def _store_class() -> Any:
    from zarr.storage import FsspecStore

    # Of all stores together, the one that was used last at the end; only the thread in which zarr waits for stores comes here.
    kept: OrderedDict[tuple, Any] = OrderedDict()
    size = 0

    class Store(FsspecStore):
        """A store that keeps what it read last, asks again, and knows a chunk that nobody wrote from a folder that went away."""

        async def get(self, key, prototype, byte_range=None):
            nonlocal size
            # Tiles have chunks in common.
            which = (self._token, key, byte_range)
            if which in kept:
                kept.move_to_end(which)
                return kept[which]
            value = await self._asked(key, prototype, byte_range)
            if self.read_only and value is not None and which not in kept:
                kept[which] = value
                size += len(value)
                while size > MOST_KEPT:
                    size -= len(kept.popitem(last=False)[1])
            return value

        @functools.cached_property
        def _token(self) -> object:
            return object()

        async def _asked(self, key, prototype, byte_range):
            for attempt in range(_ATTEMPTS):
                try:
                    value = await super().get(key, prototype, byte_range)
                    break
                except Exception as error:
                    if attempt == _ATTEMPTS - 1 or not is_cut(error):
                        raise
                    await asyncio.sleep(_PAUSE * 2**attempt)
            # Zarr fills missing chunks, which would train and predict without a word.
            if value is None and key.rpartition("/")[2] not in _METADATA and not await self._is_there(prototype):
                raise FileNotFoundError(key)
            return value

        async def _is_there(self, prototype) -> bool:
            for mark in MARKS:
                if await super().get(mark, prototype) is not None:
                    return True
            return False

    return Store


def is_zarr(path: Place) -> bool:
    """Return whether there is a Zarr folder, on a disk or in a store."""
    return any((path / mark).is_file() for mark in MARKS)


# ---- writing -------------------------------------------------------------------------------------


def refuse_existing_at(url: Url, overwrite: bool, what: str) -> None:
    """Raise `InputError` if the folder holds anything and may not be replaced; only Zarr may, for the path may be mistyped."""
    url.refuse_read_only()
    if not url.iterdir():
        return
    if not is_zarr(url):
        raise InputError(
            f"{url}: expected an earlier {what} to overwrite, or an empty folder, found a folder without {MARKS[0]}; choose "
            "another path."
        )
    if not overwrite:
        raise InputError(f"{url}: the {what} exists already; choose another path or add `overwrite=True`.")


def refuse_unwritable_at(url: Url) -> None:
    """Raise `InputError` if nothing can be written there."""
    url.refuse_read_only()
    probe = _partial(url).with_name(f"{PARTIAL}{url.name}.probe")
    files, path = probe.opened()
    with reached(url):
        files.pipe_file(path, b"")
        files.rm_file(path)


@contextmanager
def whole_at(url: Url) -> Iterator[Url]:
    """Yield another place in the store; what is written there takes the place of `url` only if nothing went wrong.

    Raises:
        InputError: a store that cannot be written or reached.
    """
    refuse_unwritable_at(url)
    partial = _partial(url)
    # What a process that was killed left.
    _remove(partial)
    try:
        yield partial
        _replace(partial, url)
    finally:
        _remove(partial)


def _partial(url: Url) -> Url:
    return url.with_name(f"{PARTIAL}{url.name}")


def _remove(folder: Url) -> None:
    """Remove a folder, where there is one; what makes it one goes first, so that nobody takes the rest for whole."""
    files, path = folder.opened()
    with reached(folder):
        metadata, others = _sorted(files.find(path))
        for some in (metadata[::-1], others):
            if some:
                files.rm(some)


def _replace(partial: Url, url: Url) -> None:
    """Put a whole folder in the place of another."""
    _remove(url)
    files, path = partial.opened()
    target = url.opened()[1]
    with reached(url):
        metadata, chunks = _sorted(files.find(path))
        for some in (chunks, *([name] for name in metadata)):
            files.copy(some, [target + name.removeprefix(path) for name in some])


def _sorted(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the metadata among the names of objects, those of the whole last, and all others."""
    metadata = [name for name in names if name.rpartition("/")[2] in _METADATA]
    return sorted(metadata, key=lambda name: name.count("/"), reverse=True), [*set(names) - set(metadata)]
