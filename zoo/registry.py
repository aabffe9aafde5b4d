"""Where models are looked for, and by what name. Nothing here loads TensorFlow's graph of a model."""

import os
from pathlib import Path

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.fields import validated
from keras_unet3d.files import read_json
from keras_unet3d.machine.folders import former_user_zoo, user_zoo
from keras_unet3d.run_folder import FoldsFolder, RunFolder
from keras_unet3d.zoo.cards import Card, from_metadata

ENVIRONMENT = "KERAS_UNET3D_ZOO"
CARD = "metadata.json"
EMBEDDED = Path(__file__).resolve().parent / "models"


def search_path() -> list[Path]:
    """Return the folders that names are looked up in: `$KERAS_UNET3D_ZOO`, the user's, the embedded ones."""
    given = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    former = [folder for folder in [former_user_zoo()] if folder.is_dir()]
    return [*given, user_zoo(), *former, EMBEDDED]


def list_models() -> list[Card]:
    """Return the cards of all models that can be loaded by name, every version, first by name, newest first."""
    cards = {(card.name, card.version): card for card, _ in reversed(_scan()[0])}
    return sorted(cards.values(), key=lambda card: (card.name, [-part for part in card.version_key]))


def broken_models() -> list[str]:
    """Return a sentence for every bundle on the search path whose card cannot be read."""
    return [str(error) for _, error in _scan()[1]]


@validated
def card(reference: str | Path) -> Card:
    """Return the card of a model, given as `find` takes it."""
    return read_card(find(reference))


def read_card(bundle: Path) -> Card:
    """Return the card in a bundle's folder; raises `InputError` where it is missing or broken."""
    path = bundle / CARD
    return from_metadata(read_json(path, "the card of a model"), str(path))


@validated
def find(reference: str | Path) -> Path:
    """Return the bundle's folder of a name, "name@version", or the path of a bundle's folder.

    Raises:
        InputError: an unknown name; the sentence has the close names and the folders.
    """
    path = Path(reference)
    if (path / CARD).is_file():
        return path
    if RunFolder(path).is_run or FoldsFolder(path).is_folds:
        raise InputError(f"{reference}: expected a bundle or the name of a model, found a run folder; export it first.")
    versions, broken = _versions(path) if path.is_dir() else ([], [])
    if versions:
        return _newest(versions)[1]
    models = named(str(reference))
    if models:
        return _newest(models)[1]
    name = str(reference).partition("@")[0]
    known, all_broken = _scan()
    for folder, error in (*broken, *all_broken):
        if folder.parent.name in (name, path.name):
            raise error
    names = sorted({name for card, _ in known for name in (card.name, f"{card.name}@{card.version}", *card.aliases)})
    raise InputError(
        f"{reference}: expected a run folder, a bundle or the name of a model, found none of them."
        f"{did_you_mean(str(reference), names)} Looked in {', '.join(map(str, search_path()))}; "
        "`zoo.list_models()` has all names."
    )


def named(reference: str) -> "Models":
    """Return the models of a name or "name@version", of all folders; an alias counts where no model has it for a name."""
    name, _, version = reference.partition("@")
    known = [(card, folder) for card, folder in _scan()[0] if version in ("", card.version)]
    by_name = [(card, folder) for card, folder in known if card.name == name]
    return by_name or [(card, folder) for card, folder in known if name in card.aliases]


Models = list[tuple[Card, Path]]
Broken = list[tuple[Path, InputError]]


def _scan() -> tuple[Models, Broken]:
    """Return every model on the search path, first folder first, and apart those without a readable card."""
    models: Models = []
    broken: Broken = []
    for root in search_path():
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            good, bad = _versions(folder)
            models += good
            broken += bad
    return models, broken


def _versions(folder: Path) -> tuple[Models, Broken]:
    models: Models = []
    broken: Broken = []
    for path in sorted(folder.glob(f"*/{CARD}")):
        if path.parent.name.startswith("."):
            continue  # half-written, by a process that was killed
        try:
            models.append((read_card(path.parent), path.parent))
        except InputError as error:
            # A broken bundle must not hide the others.
            broken.append((path.parent, error))
    return models, broken


def _newest(models: Models) -> tuple[Card, Path]:
    # max keeps the first of equals: an earlier folder of the search path wins.
    return max(models, key=lambda pair: pair[0].version_key)
