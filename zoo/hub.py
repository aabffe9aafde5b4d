"""Hugging Face: a repository is a bundle, its model card the bundle's README.md, and its tags are versions."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from keras_unet3d.errors import InputError, shortened
from keras_unet3d.files import made_folder, read_json, refuse_full, temporary_folder
from keras_unet3d.listener import Listener
from keras_unet3d.zoo.archives import SUMS
from keras_unet3d.zoo.cards import CARD, Card
from keras_unet3d.zoo.download import MOST_BYTES

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf"
_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+?)/?(@(?P<revision>[\w./-]+))?")
# Their words for licences, apart from which they want `other` and a name.
_LICENCES = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "unlicense"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
}
# What stands in a repository that nobody has put anything into.
_NOTHING = {".gitattributes", "README.md", "LICENSE"}


def front_matter(card: Card) -> str:
    """Return the lines with which a README.md tells Hugging Face what it is about."""
    licence = re.sub(r"[^a-z0-9.]+", "-", card.licence.weights.lower()).strip("-")
    lines = ["library_name: keras", "pipeline_tag: image-segmentation", "tags: [keras-unet3d, unet, 3d, segmentation]"]
    if licence in _LICENCES:
        lines.insert(0, f"license: {licence}")
    elif card.licence.weights != "not stated":
        lines[:0] = ["license: other", f"license_name: {licence}"]
    return "\n".join(["---", *lines, "---", "", ""])


def fetch_bundle(source: str, place: Path, listener: Listener) -> Path:
    """Write the bundle in a repository to a folder in `place` and return it.

    Raises:
        InputError: no such repository, none for this user, no bundle in it, one that is too large, or no network.
    """
    name, revision = _parsed(source)
    api = _api()
    with _in_words(source), _without_bars():
        info = api.model_info(name, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = [file for file in sizes if "/" not in file and not file.startswith(".")]
        _refuse_no_bundle(source, files)
        size = sum(sizes[file] for file in files)
        if size > MOST_BYTES:
            raise InputError(f"{source}: expected at most {MOST_BYTES} bytes, found {size}; it was not downloaded.")
        with made_folder(place, place):
            refuse_full(place, size)
            done = 0
            for file in files:
                # All of the same commit, whatever is published meanwhile; links into their cache would be refused.
                api.hf_hub_download(name, file, revision=info.sha, local_dir=place / "bundle")
                done += sizes[file]
                listener.progress(done // 2**20, -(-size // 2**20))
    return place / "bundle"


def upload_bundle(bundle: Path, card: Card, target: str, overwrite: bool) -> None:
    """Make a folder with a bundle the content of a repository, which is made where there is none, and its version a tag.

    Raises:
        InputError: a repository of something else, a version that is there already, no permission, or no network.
    """
    name, revision = _parsed(target)
    if revision:
        raise InputError(
            f"{target}: expected hf://OWNER/NAME, found a revision, too; the version becomes a tag, leave it out."
        )
    api = _api()
    with _in_words(target):
        api.create_repo(name, exist_ok=True)
        _refuse_other(api, name, api.list_repo_files(name), card, target)
        is_there = card.version in {tag.name for tag in api.list_repo_refs(name).tags}
        if is_there and not overwrite:
            raise InputError(
                f"{target}: the version {card.version} exists already; export another one or add `overwrite=True`."
            )
        api.upload_folder(
            repo_id=name, folder_path=bundle, commit_message=f"{card.name} {card.version}", delete_patterns=["*"]
        )
        if is_there:
            api.delete_tag(name, tag=card.version)
        api.create_tag(name, tag=card.version)


def _refuse_other(api: "HfApi", name: str, files: Collection[str], card: Card, target: str) -> None:
    """Raise `InputError` where the repository holds anything but earlier versions of the model: the address may be mistyped."""
    if {*files} <= _NOTHING:
        return
    _refuse_no_bundle(target, files)
    with temporary_folder() as folder:
        there = read_json(Path(api.hf_hub_download(name, CARD, local_dir=folder)), "the card of a model")
    if there.get("name") != card.name:
        raise InputError(
            f"{target}: expected an empty repository, or one of {card.name}, found the model {shortened(str(there.get('name')))}; "
            "choose another one."
        )


def _refuse_no_bundle(address: str, files: Collection[str]) -> None:
    for needed in (CARD, SUMS):
        if needed not in files:
            raise InputError(
                f"{address}: expected a repository with a bundle in it, found one without {needed}; check the name."
            )


def _parsed(address: str) -> tuple[str, str | None]:
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise InputError(
            f"{address}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, found another form; check it."
        )
    return parts["name"], parts["revision"]


@contextmanager
def _without_bars() -> Iterator[None]:
    """Have the library draw nothing: the listener hears of it."""
    from huggingface_hub import utils

    if utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _api() -> "HfApi":
    """Return what asks for us; it finds address and token where they are kept, HF_ENDPOINT and HF_TOKEN among them."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError(
            "Hugging Face: expected the package huggingface_hub, found none; run pip install 'keras-unet3d[hub]'."
        ) from error
    return HfApi()


@contextmanager
def _in_words(address: str) -> Iterator[None]:
    """Turn what the library raises into sentences; tokens are its business, and never in them."""
    from huggingface_hub import errors

    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{address}: expected a repository that you may read, found one whose conditions you have not accepted; do so on its page."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{address}: expected a version or revision that is there, found none of that name."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{address}: expected a repository, found none that you may see; check the name, or log in by hf auth login."
        ) from error
    except errors.HfHubHTTPError as error:
        code = getattr(error.response, "status_code", None)
        if code in (401, 403):
            raise InputError(
                f"{address}: expected your permission for that, found none; log in by hf auth login, with a token that may do it."
            ) from error
        raise InputError(
            f"{address}: expected Hugging Face to do that, found the answer {code}; call it again later."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(f"{address}: expected a network, found HF_HUB_OFFLINE set; take that away.") from error
    except Exception as error:
        # Its libraries of the network have errors of their own.
        raise InputError(
            f"{address}: expected Hugging Face to do that, found {type(error).__name__} ({shortened(str(error))}); check the network "
            "(HF_ENDPOINT, HTTPS_PROXY); models that are here already are used without it."
        ) from error
