"""Gives bundles to others: a folder that any web server can serve as a zoo, or a repository of Hugging Face."""

import re
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import (
    as_json,
    copy_file,
    read_json,
    read_text,
    remove_path,
    sha256,
    temporary_folder,
    whole_file,
    write_text,
)
from keras_unet3d.zoo import hub
from keras_unet3d.zoo.addresses import shown_url
from keras_unet3d.zoo.archives import copy_bundle, zip_folder
from keras_unet3d.zoo.cards import CARD, read_card
from keras_unet3d.zoo.loading import bundle_folder, open_model
from keras_unet3d.zoo.sources import scheme_of
from keras_unet3d.zoo.web import INDEX, SCHEMA, WHAT, Entry, read_index


@validated
def publish(reference: str | Path, to: str | Path, overwrite: bool = False) -> str:
    """Give a bundle to others, proved first, and return where they find it: an address, or the path of a zip.

    Args:
        reference: a name, "name@version", or the folder or zip of a bundle.
        to: a folder, to which a zip and its entry in `index.json` are added; or hf://OWNER/NAME, a repository of Hugging Face,
            which is made (for everybody to see) where there is none.
        overwrite: whether this version may be replaced there.

    Raises:
        InputError: a broken bundle, a version that is there already, a place that cannot be written, or no permission.
    """
    scheme = scheme_of(to)
    if scheme not in ("", hub.SCHEME):
        raise InputError(
            f"to: expected a folder or hf://OWNER/NAME, found {shown_url(str(to))}; copy the folder to the server yourself."
        )
    # Nobody is given a model that does not do what its test says.
    open_model(reference)
    with bundle_folder(reference) as bundle, temporary_folder() as folder:
        copy_bundle(bundle, folder)
        if scheme == hub.SCHEME:
            card = read_card(folder)
            hub.upload_bundle(folder, card, str(to), overwrite)
            return f"{to}@{card.version}"
        return str(_add_to_folder(folder, Path(to), overwrite))


def _add_to_folder(bundle: Path, zoo: Path, overwrite: bool) -> Path:
    """Put a zip of a bundle into a zoo for the web, and then its entry into the index, which tells of whole zips at any moment."""
    card, index = read_card(bundle), zoo / INDEX
    ours = re.compile(rf"{re.escape(card.name)}-{re.escape(card.version)}-[0-9a-f]{{8}}\.zip")
    # While we have the index nobody else adds to it.
    with whole_file(index, what="index") as written, temporary_folder() as folder:
        entries = read_index(read_text(index, WHAT), str(index)) if index.exists() else []
        others = [entry for entry in entries if not ours.fullmatch(str(entry.get("file")))]
        if len(others) < len(entries) and not overwrite:
            raise InputError(
                f"{index}: {card.name} {card.version} exists already; export another version or add `overwrite=True`."
            )
        packed = folder / "bundle.zip"
        zip_folder(bundle, packed)
        digest = sha256(packed)
        # Another content has another name: who reads the old index gets the old file, or none.
        archive = zoo / f"{card.name}-{card.version}-{digest[:8]}.zip"
        entry = Entry(archive.name, packed.stat().st_size, digest, read_json(bundle / CARD, "the card of a model"))
        copy_file(packed, archive)
        write_text(written, as_json({"schema": SCHEMA, "models": [*others, entry.config()]}))
    for path in zoo.iterdir():
        if ours.fullmatch(path.name) and path != archive:
            remove_path(path)
    return archive
