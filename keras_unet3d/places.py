"""Where data are: a path on a disk of this machine, or a URL of a store that fsspec knows (S3, HTTP, Google Cloud ...).

Credentials and other options of a store are fsspec's business, which reads them from its files and from the environment. A URL
has nothing secret in it, so it may be kept and shown.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from keras_unet3d.errors import PARTIAL, InputError, shortened, without_secrets

# One letter alone is a drive of Windows.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.+)", re.DOTALL)
# Others' web servers are not written to, although fsspec would try.
_READ_ONLY = ("http", "https")
# Of every store: what others write meanwhile is there.
OPTIONS = {"use_listings_cache": False}
_INSTALL = "pip install 'keras-unet3d[remote]'"
# Package of a store, as fsspec asks for it -> what to do where it is missing; anything else: our own extra.
_OTHERS = {
    "gs": "pip install gcsfs",
    "gcs": "pip install gcsfs",
    "abfs": "pip install adlfs",
    "az": "pip install adlfs",
}


class Url(str):
    """A folder or an object in a store, with as much of a path's ways as data need; made by `place`."""

    @property
    def scheme(self) -> str:
        """What the store is: "s3", "https" ..."""
        return self.partition("://")[0]

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name; of a bucket or a host none."""
        return PurePosixPath(self.name).suffix if self.count("/") > 2 else ""

    def __truediv__(self, below: str) -> "Url":
        return Url(f"{self}/{below}".rstrip("/"))

    def with_name(self, name: str) -> "Url":
        """Return what lies beside it under that name."""
        return Url(f"{self.rpartition('/')[0]}/{name}")

    def resolve(self) -> "Url":
        """Return itself: a store has no links."""
        return self

    def is_file(self) -> bool:
        """Return whether there is such an object, a small one, which is read for it."""
        return self.content() is not None

    def content(self) -> bytes | None:
        """Return what is in an object, None where there is none."""
        files, path = self.opened()
        with reached(self):
            try:
                return files.cat_file(path)
            # A server of plain files says so of a folder.
            except (FileNotFoundError, IsADirectoryError):
                return None

    def iterdir(self) -> list["Url"]:
        """Return what lies in a folder, in order; nothing where there is no such folder."""
        files, path = self.opened()
        with reached(self):
            try:
                listed = files.ls(path, detail=False)
            except FileNotFoundError:
                return []
        names = {entry.rstrip("/").rpartition("/")[2] for entry in listed if entry.rstrip("/") != path.rstrip("/")}
        return [self / name for name in sorted(names)]

    def glob(self) -> list["Url"]:
        """Return what a pattern names, in order."""
        files, path = self.opened()
        with reached(self):
            return sorted(Url(files.unstrip_protocol(found).rstrip("/")) for found in files.glob(path))

    def opened(self) -> tuple[Any, str]:
        """Return the store, as fsspec has it, and what the place is called there."""
        with reached(self):
            try:
                import fsspec
            except ImportError as error:
                raise InputError(f"{self}: expected the package fsspec, found none; run {_INSTALL}.") from error
            return fsspec.url_to_fs(str(self), **OPTIONS)

    def refuse_read_only(self) -> None:
        """Raise `InputError` where nothing can be written to the store."""
        if self.scheme in _READ_ONLY:
            raise InputError(
                f"{self}: expected a store that can be written to, like s3://, found {self.scheme}, which is only read here; choose "
                "another path."
            )


Place = Path | Url


def place(given: str | Path) -> Place:
    """Return a path, or the URL that a text is.

    Raises:
        InputError: a URL with a password or a query in it, which would be kept in files and logs.
    """
    if isinstance(given, Url):
        return given
    match = _URL.fullmatch(given) if isinstance(given, str) else None
    if not match:
        return Path(given)
    scheme, rest = match.groups()
    if scheme.lower() == "file":
        return Path(unquote(rest))
    for part, found in {
        "a user or a password": rest.partition("/")[0].rpartition("@")[1],
        "a query": "?" in rest,
    }.items():
        if found:
            raise InputError(
                f"{without_secrets(str(given))}: expected a URL without secrets, for it is kept with the results, found {part} in "
                "it; give the credential to fsspec instead (docs/remote.md)."
            )
    return Url(f"{scheme.lower()}://{rest}".rstrip("/"))


def is_collapsed(path: Path) -> bool:
    """Return whether somebody took a URL for a path, which would make a folder of the name "s3:"."""
    return bool(_URL.fullmatch(str(path).replace(":/", "://", 1)))


def overlapping_urls(first: Place, second: Place) -> bool:
    """Return whether the URLs are the same, or one of them lies in the other; a path and a URL never do."""
    if not (isinstance(first, Url) and isinstance(second, Url)):
        return False
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")


# ---- what a store says ---------------------------------------------------------------------------

_ACCESS = (
    "no permission for it: a credential that is missing or wrong, or an object that is missing where nothing may be listed; "
    "give the credential to fsspec (docs/remote.md), and check the URL"
)
_CONNECTION = "no connection, or one that was cut; check the URL and the network, and try again"
# Classes of errors, by name for none of these packages need be there -> what was found, and what to do.
_FAULTS = {
    "FileNotFoundError": "no such object; check the URL",
    "PermissionError": _ACCESS,
    "NoCredentialsError": _ACCESS,
    "PartialCredentialsError": _ACCESS,
    **dict.fromkeys(
        (
            # Of Python, aiohttp and botocore.
            "ConnectionError",
            "TimeoutError",
            "gaierror",
            "ClientConnectionError",
            "ClientPayloadError",
            "HTTPClientError",
            "IncompleteReadError",
            "ResponseStreamingError",
            "FSTimeoutError",
        ),
        _CONNECTION,
    ),
    "NotImplementedError": "a store that cannot do that; choose another",
}
_DENIED = (401, 403, 407)


def is_cut(error: BaseException) -> bool:
    """Return whether an error says that a connection failed, which it may not do the next time."""
    return _fault(error) == _CONNECTION


def _fault(error: BaseException) -> str | None:
    # Of aiohttp, or of gcsfs.
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and status >= 400:
        return _ACCESS if status in _DENIED else f"a server that fails (status {status}); try again later"
    return next((_FAULTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _FAULTS), None)


@contextmanager
def reached(place: Place) -> Iterator[None]:
    """Turn what is raised where a store cannot be reached, or refuses, into one sentence; errors of other kinds pass."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not isinstance(place, Url):
            raise
        # People know the name that a volume gets in the end.
        url = Url(place.replace(f"/{PARTIAL}", "/"))
        if isinstance(error, ImportError):
            install = _OTHERS.get(url.scheme, _INSTALL)
            raise InputError(f"{url}: expected the package for {url.scheme}://, found none; run {install}.") from error
        fault = _fault(error)
        if fault is None and isinstance(error, OSError):
            fault = f"a failure of the store ({shortened(str(error))})"
        if "Protocol not known" in str(error):
            fault = f"a kind of store that fsspec does not know, {url.scheme}; check the URL"
        if fault is None:
            raise
        raise InputError(f"{url}: expected a store that can be reached, found {fault}.") from error
