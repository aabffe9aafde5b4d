"""Zoos on the web: a folder that any server of files gives, with a zip per bundle, and `index.json` of what there is."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated
from keras_unet3d.files import parse_json, whole_folder
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import folders
from keras_unet3d.zoo.addresses import SCHEMES, shown_url
from keras_unet3d.zoo.archives import check_sums, unzip
from keras_unet3d.zoo.cards import CARD, Card, from_metadata, read_card
from keras_unet3d.zoo.download import MOST_BYTES, download, fetched, read_url

INDEX = "index.json"
WHAT = "the index of a zoo on the web"
SCHEMA = 1
_MOST_INDEX = 2**24
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.zip")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry(Validated):
    """A bundle in the index.

    Attributes:
        file: its zip, beside the index.
        size: of the zip, in bytes.
        sha256: of the zip.
        card: the content of its `metadata.json`.
    """

    WHAT = "an entry of the index of a zoo on the web"

    file: str
    size: int
    sha256: str
    card: dict

    def faults(self) -> Iterator[str]:
        if not _FILE.fullmatch(self.file):
            yield f"file: expected the name of a zip beside the index, found {self.file!r}."
        if not 0 < self.size <= MOST_BYTES:
            yield f"size: expected 1 to {MOST_BYTES} bytes, found {self.size}."
        if not _DIGEST.fullmatch(self.sha256):
            yield f"sha256: expected 64 hexadecimal digits, found {self.sha256!r}."


@dataclass(frozen=True)
class Offer:
    """A model of a zoo on the web: the address of the zoo, and what its index says."""

    zoo: str
    entry: Entry


Offers = list[tuple[Card, Offer]]


def is_web_zoo(place: object) -> bool:
    """Return whether a part of the search path is an address."""
    return str(place).partition("://")[0] in SCHEMES


def folder_of(zoo: str) -> Path:
    """Return the folder of what was fetched from a zoo."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", urlsplit(zoo).hostname or "")
    return folders.fetched() / f"{host}-{hashlib.sha256(zoo.encode()).hexdigest()[:12]}"


def read_index(text: str, source: str) -> list[dict]:
    """Return the entries of an index as they are.

    Raises:
        InputError: no index, or one of a newer version.
    """
    index = parse_json(text, source, WHAT)
    if index.get("schema") != SCHEMA or not isinstance(index.get("models"), list):
        raise InputError(
            f"{source}: expected {WHAT}, of schema {SCHEMA}, found something else; a newer version may read it."
        )
    return [entry if isinstance(entry, dict) else {} for entry in index["models"]]


def offers_of(zoo: str) -> tuple[Offers, list[InputError]]:
    """Return the models that a zoo has, with their cards, and what is wrong with others, or with the whole zoo."""
    offers: Offers = []
    broken: list[InputError] = []
    address = f"{zoo.rstrip('/')}/{INDEX}"
    source = shown_url(address)
    try:
        entries = read_index(read_url(address, _MOST_INDEX).decode("utf-8", "replace"), source)
    except InputError as error:
        return offers, [error]
    for given in entries:
        try:
            entry = Entry.from_config(given, source)
            offers.append((from_metadata(entry.card, source), Offer(zoo, entry)))
        except InputError as error:
            broken.append(error)
    return offers, broken


def fetch(card: Card, offer: Offer, listener: Listener = SILENT) -> Path:
    """Put a model of a zoo where it is found without a network, and return its folder.

    Raises:
        InputError: as `download`; a broken bundle, or another one than the index says.
    """
    entry, target = offer.entry, folder_of(offer.zoo) / card.name / card.version
    address = f"{offer.zoo.rstrip('/')}/{entry.file}"

    def into(place: Path) -> Path:
        path = place / entry.file
        download(address, path, size=entry.size, digest=entry.sha256, listener=listener)
        return path

    with whole_folder(target, False, "model", (CARD,)) as folder, fetched(address, into) as archive:
        unzip(archive, folder)
        check_sums(folder)
        inside = read_card(folder)
        if (inside.name, inside.version) != (card.name, card.version):
            raise InputError(
                f"{archive}: expected {card.name} {card.version}, as the index says, found {inside.name} {inside.version}; "
                "tell whoever keeps that zoo."
            )
    return target
