"""One process at a time writes a place; the lock of a process that died holds nobody up."""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from keras_unet3d.errors import InputError, writing


class Taken(InputError):
    """A place that another process writes to."""


_SUFFIX = ".lock"
# Disks of networks that know no locks.
_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
# Where the byte lies that is locked on Windows: others may read what stands before it.
_FAR = 2**30


def is_lock(path: Path) -> bool:
    """Return whether `path` is the file of a lock."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


@contextmanager
def locked(lock: Path, place: Path) -> Iterator[None]:
    """Have `place` to ourselves, by a lock on the file `lock` that the system takes back when the process dies.

    Raises:
        InputError: another process has it, which is named; or the file cannot be made.
    """
    handle = _held(lock, place)
    try:
        _write_owner(handle)
        yield
    finally:
        # Removed before it is let go: nobody finds a file that tells of a process that is done.
        with suppress(OSError):
            lock.unlink()
        os.close(handle)


def _held(lock: Path, place: Path) -> int:
    """Return the open file of a lock that we hold."""
    while True:
        with writing(place):
            handle = _opened(lock)
            is_ours = _try_to_lock(handle)
        if not is_ours:
            owner = _owner(handle)
            os.close(handle)
            raise Taken(
                f"{place}: expected a place that nobody else writes to, found {owner} writing there; wait for it, or choose "
                "another path."
            )
        with suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        # Whoever had it removed the file between our two steps.
        os.close(handle)


def _opened(lock: Path) -> int:
    # A link in its place could have any file written over.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(lock, flags, 0o666)
    except PermissionError:
        # Left by another user's process: enough to see whether it lives.
        return os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        # Another process has just taken away the folder, which was empty.
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, flags, 0o666)


def _owner(handle: int) -> str:
    """Return who has the lock, by what its file says; whoever has only just taken it has yet to write that."""
    for _ in range(20):
        os.lseek(handle, 0, os.SEEK_SET)
        if owner := os.read(handle, 200).decode("utf-8", "replace").strip():
            return owner
        time.sleep(0.05)
    return "another process"


def _write_owner(handle: int) -> None:
    text = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%H:%M:%S},\n"
    # A full disk is for the writer to say.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, text.encode())


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(handle: int) -> bool:
        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_to_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
        return True
