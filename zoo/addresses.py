"""Addresses on the web: which of them are asked, and what messages say of them."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from keras_unet3d.errors import InputError, shortened

SCHEMES = ("https", "http")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")


def split_digest(url: str) -> tuple[str, str | None]:
    """Return a URL without its fragment `#sha256=...`, and that checksum.

    Raises:
        InputError: another fragment.
    """
    address, mark, fragment = url.partition("#")
    digest = _DIGEST.fullmatch(fragment.lower())
    if mark and not digest:
        raise InputError(
            f"{shown_url(url)}: expected #sha256= and 64 hexadecimal digits, or nothing, after the address, found "
            f"{shortened(fragment)!r}; take the checksum from where the address is from."
        )
    return address, digest[1] if digest else None


def shown_url(url: str) -> str:
    """Return what messages have of a URL: neither a password nor what follows a question mark, which may be secret, too."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def refuse_redirect(source: str, target: str, digest: str | None) -> None:
    """Raise `InputError` where a server sends us from `source` to a place that is not on the web, or from https to http."""
    if _split(target).scheme not in SCHEMES or (_split(source).scheme == "https" and _split(target).scheme != "https"):
        raise InputError(
            f"{shown_url(source)}: expected a file, found a redirect to {_split(target).scheme}://; it was not followed."
        )
    refuse_unsafe(target, digest)


def refuse_unsafe(url: str, digest: str | None) -> None:
    """Raise `InputError` for anything but https, or http where the checksum is known or the server is this machine."""
    parts = _split(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise InputError(
            f"{shown_url(url)}: expected an address that begins with https://, found another one; check it."
        )
    if "@" in parts.netloc:
        raise InputError(f"{shown_url(url)}: expected an address without a password, found one; leave it out.")
    if parts.scheme == "http" and not digest and not _is_here(parts.hostname):
        raise InputError(
            f"{shown_url(url)}: expected https://, as anyone on the way can change what comes by http://; use https, or add "
            "#sha256= and the checksum of the file."
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError as error:
        raise InputError(
            f"{shortened(url.partition('?')[0])!r}: expected an address, found a broken one ({error})."
        ) from error
    return parts


def _is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
