"""Puts bundles where they are found by name, whole or not at all, and takes them away."""

import shutil
import uuid
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import refuse_existing_folder, whole_folder
from keras_unet3d.machine.folders import user_zoo
from keras_unet3d.zoo.archives import SUMS, check_sums, sha256
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, read_network
from keras_unet3d.zoo.registry import CARD, EMBEDDED, find, named, read_card
from keras_unet3d.zoo.trust import prove_once


@validated
def install(source: str | Path, directory: str | Path | None = None, overwrite: bool = False) -> Path:
    """Copy a bundle, proved first, to a folder of the search path, and return where it is.

    Args:
        source: the folder or zip of a bundle.
        directory: `None` is the user's zoo.
        overwrite: whether this version may be replaced by another bundle.

    Raises:
        InputError: a broken bundle, or another one of the same name and version.
    """
    with bundle_folder(source) as bundle:
        check_sums(bundle)
        card = read_card(bundle)
        prove_once(bundle, read_network(bundle / NETWORK, card), card)
        target = Path(directory or user_zoo()) / card.name / card.version
        if _is_same(bundle, target):
            return target
        refuse_existing_folder(target, overwrite, "model", (CARD,))
        try:
            with whole_folder(target) as folder:
                for path in sorted(bundle.iterdir()):
                    # Hidden files are the file manager's; folders and links are in no bundle.
                    if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                        shutil.copyfile(path, folder / path.name)
                check_sums(folder)
        except OSError:
            # Somebody else installed it at the same time.
            if not _is_same(bundle, target):
                raise
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
    # Out of sight at once: nobody finds half a model.
    hidden = folder.with_name(f".{uuid.uuid4().hex[:8]}.removed.{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return folder
