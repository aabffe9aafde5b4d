"""Where models are looked for, and by what name. Nothing here loads TensorFlow's graph of a model."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.fields import validated
from keras_unet3d.files import read_json
from keras_unet3d.machine.folders import former_user_zoo, user_zoo
from keras_unet3d.run_folder import FoldsFolder, RunFolder
from keras_unet3d.zoo.addresses import shown_url
from keras_unet3d.zoo.cards import CARD, Card, from_metadata, read_card
from keras_unet3d.zoo.web import Offer, Offers, fetch, folder_of, is_web_zoo, offers_of

ENVIRONMENT = "KERAS_UNET3D_ZOO"
EMBEDDED = Path(__file__).resolve().parent / "models"
_SEPARATOR = re.escape(os.pathsep)
# Addresses have colons, which separate folders on some systems.
_PART = re.compile(rf"https?://[^/{_SEPARATOR}]*(?::\d+(?![^/{_SEPARATOR}]))?[^{_SEPARATOR}]*|[^{_SEPARATOR}]+")

Models = list[tuple[Card, Path]]
Broken = list[tuple[Path, InputError]]
_Place = TypeVar("_Place")


def search_path() -> list[Path | str]:
    """Return where names are looked up: the folders and web addresses of `$KERAS_UNET3D_ZOO`, the user's folder, the embedded ones."""
    former = [folder for folder in [former_user_zoo()] if folder.is_dir()]
    return [*given_places(), user_zoo(), *former, EMBEDDED]


def given_places() -> list[Path | str]:
    """Return the folders and web addresses of `$KERAS_UNET3D_ZOO`."""
    return [part if is_web_zoo(part) else Path(part) for part in _PART.findall(os.environ.get(ENVIRONMENT, ""))]


def list_models() -> list[Card]:
    """Return the cards of all models that can be loaded by name, every version, first by name, newest first."""
    return [card for card, _ in survey()[0]]


def broken_models() -> list[str]:
    """Return a sentence for every bundle on the search path whose card cannot be read, and every zoo that does not answer."""
    return survey()[1]


def survey() -> tuple[list[tuple[Card, Path | Offer]], list[str]]:
    """Return cards and places of all models, first by name, newest first, and sentences on what cannot be read."""
    (models, broken), (offers, silent) = _scan(), _offers()
    places: dict[tuple[str, str], tuple[Card, Path | Offer]] = {}
    for card, place in (*models, *offers):
        # The first folder of the search path wins, and what is on this machine.
        places.setdefault((card.name, card.version), (card, place))
    ordered = sorted(places.values(), key=lambda pair: (pair[0].name, [-part for part in pair[0].version_key]))
    return ordered, [str(error) for error in (*(error for _, error in broken), *silent)]


def local_names() -> list[str]:
    """Return the names of the models on this machine."""
    return sorted({card.name for card, _ in _scan()[0]})


@validated
def card(reference: str | Path) -> Card:
    """Return the card of a model, given as `find` takes it; of a zoo on the web nothing else is fetched."""
    place, metadata = described(reference)
    return from_metadata(metadata, place)


def described(reference: str | Path) -> tuple[str, dict]:
    """Return where a model is, and the content of its card; errors are as in `find`."""
    place = _place_of(reference)
    if isinstance(place, Path):
        return str(place), read_json(place / CARD, "the card of a model")
    return place[1].zoo, place[1].entry.card


@validated
def find(reference: str | Path) -> Path:
    """Return the bundle's folder of a name, "name@version", or the path of a bundle's folder.

    What is only in a zoo on the web is fetched, and is on this machine from then on.

    Raises:
        InputError: an unknown name; the sentence has the close names and the folders.
    """
    place = _place_of(reference)
    return place if isinstance(place, Path) else fetch(*place)


def _place_of(reference: str | Path) -> Path | tuple[Card, Offer]:
    path = Path(reference)
    if (path / CARD).is_file():
        return path
    if RunFolder(path).is_run or FoldsFolder(path).is_folds:
        raise InputError(f"{reference}: expected a bundle or the name of a model, found a run folder; export it first.")
    if "://" in str(reference):
        raise InputError(
            f"{shown_url(str(reference))}: expected a path or the name of a model, found an address; install it first."
        )
    if path.suffix == ".zip":
        what = "a zip; install it first" if path.is_file() else "no such file; check the path"
        raise InputError(f"{reference}: expected the folder of a bundle or the name of a model, found {what}.")
    versions, broken = _versions(path) if path.is_dir() else ([], [])
    if versions:
        return _newest(versions)[1]
    known, all_broken = _scan()
    if models := _named(known, str(reference)):
        return _newest(models)[1]
    # Only for what is not on this machine anybody else is asked.
    offers, silent = _offers()
    if offered := _named(offers, str(reference)):
        return _newest(offered)
    name = str(reference).partition("@")[0]
    for folder, error in (*broken, *all_broken):
        if folder.parent.name in (name, path.name):
            raise error
    cards = [card for card, _ in (*known, *offers)]
    names = sorted({name for card in cards for name in (card.name, f"{card.name}@{card.version}", *card.aliases)})
    raise InputError(
        f"{reference}: expected a run folder, a bundle or the name of a model, found none of them."
        f"{did_you_mean(str(reference), names)} Looked in {', '.join(map(str, search_path()))}; "
        f"`zoo.list_models()` has all names.{''.join(f' {error}' for error in silent)}"
    )


def named(reference: str) -> Models:
    """Return the models of a name or "name@version", of all folders; an alias counts where no model has it for a name."""
    return _named(_scan()[0], reference)


def _named(known: Sequence[tuple[Card, _Place]], reference: str) -> list[tuple[Card, _Place]]:
    name, _, version = reference.partition("@")
    wanted = [(card, place) for card, place in known if version in ("", card.version)]
    by_name = [(card, place) for card, place in wanted if card.name == name]
    return by_name or [(card, place) for card, place in wanted if name in card.aliases]


def _scan() -> tuple[Models, Broken]:
    """Return every model on this machine, first folder first, and apart those without a readable card."""
    models: Models = []
    broken: Broken = []
    for place in search_path():
        root = place if isinstance(place, Path) else folder_of(place)
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            good, bad = _versions(folder)
            models += good
            broken += bad
    return models, broken


def _offers() -> tuple[Offers, list[InputError]]:
    """Return every model of the zoos on the web, first zoo first, and what is wrong with others."""
    offers: Offers = []
    broken: list[InputError] = []
    for place in search_path():
        if isinstance(place, str):
            good, bad = offers_of(place)
            offers += good
            broken += bad
    return offers, broken


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


def _newest(models: Sequence[tuple[Card, _Place]]) -> tuple[Card, _Place]:
    # max keeps the first of equals: an earlier folder of the search path wins.
    return max(models, key=lambda pair: pair[0].version_key)
