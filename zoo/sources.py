"""Where bundles and checkpoints come from: a path, a web address, Hugging Face, bioimage.io."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from keras_unet3d.errors import InputError
from keras_unet3d.files import write_json
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.zoo import hub
from keras_unet3d.zoo.addresses import shown_url, split_digest
from keras_unet3d.zoo.archives import zip_folder
from keras_unet3d.zoo.download import download, fetched, read_url
from keras_unet3d.zoo.plain_yaml import parse_yaml

BIOIMAGEIO = "bioimageio"
# Where its own library looks, and the variable that it reads of another place.
_PATTERN = "https://hypha.aicell.io/bioimage-io/artifacts/{bioimageio_id}/files/rdf.yaml"
_PATTERN_VARIABLE = "BIOIMAGEIO_COLLECTION_HTTP_PATTERN"
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DESCRIPTION = "the description of a model of bioimage.io"
_MOST_DESCRIPTION = 2**20
# What the last part of an address may be for the file to be called so here.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.(zip|pytorch|pt|pth)")


def scheme_of(source: str | Path) -> str:
    """Return what stands before `://`; an empty string for a path."""
    scheme, mark, _ = str(source).partition("://")
    return scheme.lower() if mark else ""


@contextmanager
def at_hand(source: str | Path, listener: Listener = SILENT) -> Iterator[str | Path]:
    """Yield a path, as it is; of an address the path of what was downloaded, for as long as this lasts.

    Raises:
        InputError: another kind of address, and as in `download`.
    """
    scheme = scheme_of(source)
    if not scheme:
        yield source
        return
    if scheme not in _FETCH:
        raise InputError(
            f"{shown_url(str(source))}: expected a path, or an address that begins with {'://, '.join(_FETCH)}://; found {scheme}://."
        )
    with fetched(str(source), lambda place: _FETCH[scheme](str(source), place, listener)) as path:
        yield path


def _fetch_file(source: str, place: Path, listener: Listener) -> Path:
    url, digest = split_digest(source)
    name = PurePosixPath(urlsplit(url).path).name
    path = place / (name if _NAME.fullmatch(name) else "bundle.zip")
    download(url, path, digest=digest, listener=listener)
    return path


def id_of(source: str | Path) -> str:
    """Return the id in `bioimageio://ID`; raises `InputError` where it is none."""
    name = str(source).partition("://")[2]
    if not _ID.fullmatch(name):
        raise InputError(f"{source}: expected the id of a model of bioimage.io, like affable-shark, found {name!r}.")
    return name


def _fetch_package(source: str, place: Path, listener: Listener) -> Path:
    """Make a package of what `zoo import` reads of a model of bioimage.io: its weights for PyTorch and its test input."""
    name = id_of(source)
    address = os.environ.get(_PATTERN_VARIABLE, _PATTERN).replace("{bioimageio_id}", name)
    text = read_url(address, _MOST_DESCRIPTION).decode("utf-8", "replace")
    rdf = parse_yaml(text, shown_url(address), _DESCRIPTION)
    folder, archive = place / "package", place / f"{name}.zip"
    for file, described in _files_of(rdf, shown_url(address)).items():
        digest = described.get("sha256")
        url = urljoin(address, str(described["source"]))
        download(url, folder / file, digest=str(digest) if digest else None, listener=listener)
        # Names that we chose lead nowhere else.
        described["source"] = file
    write_json(folder / "rdf.yaml", rdf)
    zip_folder(folder, archive)
    return archive


def _files_of(rdf: dict, source: str) -> dict[str, dict[str, Any]]:
    """Return the entries of the description that tell of weights and test input, by the names that they get."""
    try:
        tensor = rdf["inputs"][0]
        if "test_tensor" not in tensor:
            # Before their format 0.5.
            tensor["test_tensor"] = {"source": rdf["test_inputs"][0]}
        described = {"weights.pt": rdf["weights"]["pytorch_state_dict"], "test_input.npy": tensor["test_tensor"]}
        assert all(isinstance(entry["source"], str) for entry in described.values())
    except (LookupError, TypeError, AssertionError) as error:
        raise InputError(
            f"{source}: expected {_DESCRIPTION} with weights for PyTorch (pytorch_state_dict) and a test input, found none."
        ) from error
    return described


# Scheme of an address -> what writes what is there into a folder, and returns the path of it.
_FETCH: dict[str, Callable[[str, Path, Listener], Path]] = {
    "https": _fetch_file,
    "http": _fetch_file,
    hub.SCHEME: hub.fetch_bundle,
    BIOIMAGEIO: _fetch_package,
}
