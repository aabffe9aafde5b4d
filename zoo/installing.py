"""Puts bundles where they are found by name, whole or not at all, and takes them away."""

from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import is_empty, remove_path, sha256, tidy, whole_folder
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine.folders import user_zoo
from keras_unet3d.zoo.archives import SUMS, check_sums, copy_bundle
from keras_unet3d.zoo.cards import CARD, Card, read_card
from keras_unet3d.zoo.importing import import_checkpoint
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, read_network
from keras_unet3d.zoo.registry import EMBEDDED, find, named
from keras_unet3d.zoo.sources import BIOIMAGEIO, at_hand, id_of, scheme_of
from keras_unet3d.zoo.trust import prove_once


@validated
def install(
    source: str | Path, directory: str | Path | None = None, overwrite: bool = False, *, listener: Listener = SILENT
) -> Path:
    """Copy a bundle, proved first, to a folder of the search path, and return where it is.

    Args:
        source: the folder or zip of a bundle; the web address of a zip, with its checksum after `#sha256=` or without;
            hf://OWNER/NAME or hf://OWNER/NAME@REVISION, a repository of Hugging Face; or bioimageio://ID, a model of
            bioimage.io that `import_checkpoint` reads, which gets its id as its name.
        directory: `None` is the user's zoo.
        overwrite: whether this version may be replaced by another bundle.
        listener: hears how much of an address is here.

    Raises:
        InputError: a broken bundle, another one of the same name and version, and as in `download`.
    """
    if scheme_of(source) == BIOIMAGEIO:
        card = Card(id_of(source))
        return import_checkpoint(source, card, directory, overwrite, complete=False, listener=listener)
    with at_hand(source, listener) as path, bundle_folder(path) as bundle:
        check_sums(bundle)
        card = read_card(bundle)
        target = Path(directory or user_zoo()) / card.name / card.version
        if _is_same(bundle, target):
            prove_once(bundle, read_network(bundle / NETWORK, card), card)
            tidy(target)
            return target
        with whole_folder(target, overwrite, "model", (CARD,)) as folder:
            prove_once(bundle, read_network(bundle / NETWORK, card), card)
            copy_bundle(bundle, folder)
    return target


def _is_same(bundle: Path, target: Path) -> bool:
    installed = target / SUMS
    return installed.is_file() and sha256(installed) == sha256(bundle / SUMS)


@validated
def remove(reference: str | Path) -> Path:
    """Remove a model by name, "name@version" where there are several, and return where it was.

    Raises:
        InputError: an unknown name, several versions, or a model that came with the package.
    """
    models = {folder: card for card, folder in named(str(reference))}
    if not models:
        find(reference)  # says what there is
        raise InputError(f"{reference}: expected the name of a model, found a path; delete the folder yourself.")
    versions = sorted({f"{card.name}@{card.version}" for card in models.values()})
    if len(versions) > 1:
        raise InputError(f"{reference}: expected one version to remove, found {', '.join(versions)}; name one of them.")
    folder = next(iter(models))
    if EMBEDDED in folder.parents:
        raise InputError(f"{reference}: expected an installed model, found one that comes with the package.")
    remove_path(folder)
    if is_empty(folder.parent):
        remove_path(folder.parent)
    return folder
