"""Bytes from the web: continued where they were cut, of the size and checksum that was promised, and from no other kind of place."""

import hashlib
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NoReturn

from keras_unet3d import __version__
from keras_unet3d.errors import InputError, shortened
from keras_unet3d.files import continued_file, refuse_full, remove_path, sha256
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import folders
from keras_unet3d.zoo.addresses import refuse_redirect, refuse_unsafe, shown_url

# Nothing that is larger is unpacked.
MOST_BYTES = 4 * 2**30
_BLOCK = 2**18
_SECONDS = 30
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
# The server's code -> what a person is told was found.
_FOUND = {
    401: "that the server wants a password",
    403: "that the server does not give it",
    404: "no such file there",
    407: "that the proxy wants a password",
    410: "no such file there any more",
    429: "a server that was asked too often",
}
_OFFLINE = (
    "check the network, and the proxy in https_proxy where there is one; models that are here already are used without it, and "
    "a bundle that you bring by other means is installed from its path"
)


def download(
    url: str, target: Path, *, size: int | None = None, digest: str | None = None, listener: Listener = SILENT
) -> None:
    """Write what is at `url` to `target`, whole or not at all; what a cut has left is continued.

    Args:
        url: https, or http where the checksum is known or the server is this machine.
        target: the file to write.
        size: in bytes, where that is known.
        digest: the hexadecimal SHA-256, where that is known.
        listener: hears how many MB are here.

    Raises:
        InputError: no network, no such file, a web page, half a file, another size or checksum, or an address that is refused.
    """
    with continued_file(target) as file:
        total = before = -1
        # As long as something comes it is worth asking for the rest.
        while total < 0 or before < file.tell() < total:
            before = file.tell()
            total = _add_rest(url, file, size, digest, listener)
        if file.tell() < total:
            raise InputError(
                f"{shown_url(url)}: expected {total} bytes, found {file.tell()} before the connection was cut; call it again, and it "
                "continues there."
            )
        file.flush()
        if digest and sha256(Path(file.name)) != digest:
            _empty(file)
            raise InputError(
                f"{shown_url(url)}: expected a file with the SHA-256 {digest}, found another one; it was thrown away. Call it again; "
                "if it stays so, the file there was changed."
            )


def read_url(url: str, most: int) -> bytes:
    """Return what is at `url`, at most so many bytes; errors are as in `download`."""
    with closing(_answer(url, None)) as answer:
        _refuse_page(answer, url)
        content = b"".join(_blocks(answer, most + 1))
        length = _length(answer)
    if len(content) > most:
        raise InputError(f"{shown_url(url)}: expected at most {most} bytes, found more; it was not read.")
    if length is not None and len(content) < length:
        raise InputError(f"{shown_url(url)}: expected {length} bytes, found {len(content)}; call it again.")
    return content


def _add_rest(url: str, file: IO[bytes], size: int | None, digest: str | None, listener: Listener) -> int:
    """Append to `file` what it lacks of `url`, as far as that comes, and return how many bytes the whole has."""
    with closing(_answer(url, digest, file.tell())) as answer:
        begun, total = _place_in(answer)
        _refuse_page(answer, url)
        if begun != file.tell():
            # All of it comes, or what is here is of another file.
            _empty(file)
            if begun:
                raise InputError(
                    f"{shown_url(url)}: expected the rest of a file, found another part of it; call it again."
                )
        if size is not None and total not in (None, size):
            raise InputError(
                f"{shown_url(url)}: expected {size} bytes, found a file of {total}; it was not downloaded, as it was changed."
            )
        known = total if size is None else size
        most = MOST_BYTES if known is None else known
        if most > MOST_BYTES:
            raise InputError(
                f"{shown_url(url)}: expected at most {MOST_BYTES} bytes, found {most}; it was not downloaded."
            )
        if known is not None:
            refuse_full(Path(file.name).parent, known - file.tell())
        for block in _blocks(answer, most + 1 - file.tell()):
            file.write(block)
            listener.progress(file.tell() // 2**20, -(-most // 2**20))
        if file.tell() > most:
            _empty(file)
            raise InputError(f"{shown_url(url)}: expected {most} bytes, found more; what came was thrown away.")
        # Where nobody says how long it is, its end is the end.
        return file.tell() if known is None else known


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _place_in(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return where in the file an answer begins, and how long the file is; None where the server does not say."""
    if answer.status != 206:
        return 0, _length(answer)
    said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if not said or not said[1]:
        return -1, None
    return int(said[1]), int(said[2]) if said[2].isdecimal() else None


def _length(answer: http.client.HTTPResponse) -> int | None:
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() else None


def _blocks(answer: http.client.HTTPResponse, most: int) -> Iterator[bytes]:
    """Yield what comes, at most so many bytes; it may be cut."""
    try:
        while most > 0 and (block := answer.read(min(_BLOCK, most))):
            most -= len(block)
            yield block
    except (OSError, http.client.HTTPException):
        return


def _refuse_page(answer: http.client.HTTPResponse, url: str) -> None:
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise InputError(
            f"{shown_url(url)}: expected a file, found a web page; take the address of the file itself, and look whether it is only for "
            "those who are logged in."
        )


@contextmanager
def fetched(source: str, fetch: Callable[[Path], Path]) -> Iterator[Path]:
    """Yield the path that `fetch` returns, of what it wrote into a folder of its own; the folder is gone afterwards.

    Where `fetch` itself fails the folder stays: the next call, for the same `source`, continues.
    """
    place = folders.downloads() / hashlib.sha256(source.encode()).hexdigest()[:16]
    path = fetch(place)
    try:
        yield path
    except InputError as error:
        # People know where it is from, not where it was put.
        raise InputError(str(error).replace(str(path), shown_url(source))) from error
    finally:
        remove_path(place)


# ---- asking --------------------------------------------------------------------------------------


def _answer(url: str, digest: str | None, begun: int = 0) -> http.client.HTTPResponse:
    """Return the server's answer, to be closed; of a file that was `begun` it may be the rest."""
    headers = {"User-Agent": f"keras-unet3d/{__version__}", "Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    refuse_unsafe(url, digest)
    try:
        return _opener(digest).open(urllib.request.Request(url, headers=headers), timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if begun and error.code == 416:
            # There is nothing after what is here, or what is here is of another file: all of it is asked for.
            return _answer(url, digest)
        _refuse_code(url, error.code)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        _refuse_silence(url, getattr(error, "reason", error))


def _refuse_code(url: str, code: int) -> NoReturn:
    if 300 <= code < 400:
        raise InputError(
            f"{shown_url(url)}: expected a file, found a redirect to a place that is not on the web, or in a circle; it was not followed."
        )
    found = _FOUND.get(code, f"the answer {code}")
    raise InputError(f"{shown_url(url)}: expected a file, found {found}; check the address, or call it again later.")


def _refuse_silence(url: str, reason: object) -> NoReturn:
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise InputError(
            f"{shown_url(url)}: expected a server with a certificate that is trusted here, found another one "
            f"({reason.verify_message}); set SSL_CERT_FILE where your network has a certificate of its own."
        )
    said = shortened(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)
    raise InputError(f"{shown_url(url)}: expected a server that answers, found none ({said}); {_OFFLINE}.")


def _opener(digest: str | None) -> urllib.request.OpenerDirector:
    """Return what opens http and https alone, through the proxies of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        # Of a proxy of a kind that is not known here.
        urllib.request.UnknownHandler(),
        _Redirects(lambda source, target: refuse_redirect(source, target, digest)),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where that is not refused."""

    def __init__(self, refuse: Callable[[str, str], None]):
        self._refuse = refuse

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        self._refuse(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
