"""Image, label and weight files that are named by a glob each, and which of them belong together."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keras_unet3d.datasets.example import Case, DataKeys, Found, open_labels
from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated
from keras_unet3d.places import Place, Url
from keras_unet3d.volumes import Volume, file_and_key, open_volume, stem
from keras_unet3d.words import some

# Words of a file name that say what a file is, and not which.
_KINDS = {"image", "images", "img", "raw", "label", "labels", "lab", "seg", "mask", "gt", "weight", "weights", "0000"}


@dataclass(frozen=True)
class Globs(Validated):
    """Patterns of image, label and weight files; None where there are none."""

    images: str | None = None
    labels: str | None = None
    weights: str | None = None

    def __bool__(self) -> bool:
        return any((self.images, self.labels, self.weights))

    def files(self) -> list[Place]:
        """Return every file that any of the patterns names."""
        patterns = (self.images, self.labels, self.weights)
        return [file_and_key(path)[0] for pattern in patterns if pattern for path in _named(pattern)]


def find_pairs(globs: Globs, keys: DataKeys) -> Found:
    """Return a case per image; files belong together by the words in their names, or else by their order.

    Files without a partner are among the faults of the result.

    Raises:
        InputError: a glob that is missing or finds nothing, or files that are not as many.
    """
    if not globs.images or not globs.labels:
        given = "one" if globs.images or globs.labels else "neither"
        raise InputError(f"`images` and `labels`: expected both, found {given}; give a glob for each.")
    images, labels = _glob("images", globs.images), _glob("labels", globs.labels)
    faults: list[str] = []
    partners = [_partners("labels", images, labels, faults)]
    if globs.weights:
        partners.append(_partners("weights", images, _glob("weights", globs.weights), faults))
    cases = []
    for image in images:
        if not all(image in partner_of for partner_of in partners):
            continue
        label, *weight = (partner_of[image] for partner_of in partners)
        others = [
            partial(open_labels, open_volume, path, *keys.of(key))
            for path, key in zip((label, *weight), (keys.label, keys.weight), strict=False)
        ]
        cases.append(Case(file_and_key(image)[0].name, partial(open_volume, image, *keys.of(keys.raw)), *others))
    return Found(cases=tuple(cases), faults=tuple(faults))


def find_images(pattern: str, keys: DataKeys) -> list[Volume]:
    """Return the images that a glob names, by themselves; raises `InputError` where it finds none."""
    return [open_volume(image, *keys.of(keys.raw)) for image in _glob("images", pattern)]


def _glob(option: str, pattern: str) -> list[Place]:
    files = _named(pattern)
    if not files:
        raise InputError(f"`{option}={pattern}`: expected files, found none; quote the pattern and check the path.")
    return files


def _named(pattern: str) -> list[Place]:
    """Return the volumes that a pattern of paths, or of URLs, names, in order.

    It may end in the name of one inside of each file, as "*.h5:/volumes/raw" does.
    """
    where, key = file_and_key(pattern)
    if isinstance(where, Url):
        return [*where.glob()]
    matches = sorted(glob.glob(str(where), recursive=True))
    return [Path(file if key is None else f"{file}:/{key}") for file in matches]


def _partners(option: str, images: Sequence[Place], others: Sequence[Place], faults: list[str]) -> dict[Place, Place]:
    """Return the file of `others` that belongs to each image; note those without a partner in `faults`."""
    images_by_words = {_words(image): image for image in images}
    others_by_words = {_words(other): other for other in others}
    shared = set(images_by_words) & set(others_by_words)
    if len(images_by_words) == len(images) and len(others_by_words) == len(others) and shared:
        named = (*images_by_words.items(), *others_by_words.items())
        alone = [path for words, path in named if words not in shared]
        if alone:
            faults.append(
                f"`images` and `{option}`: expected a partner for every file, found none for "
                f"{some(alone)}; add the missing files, or correct the globs."
            )
        return {image: others_by_words[words] for words, image in images_by_words.items() if words in shared}
    if len(images) != len(others):
        raise InputError(
            f"`images` and `{option}`: expected as many {option} as images, found {len(images)} images and "
            f"{len(others)} {option}; correct the globs."
        )
    return dict(zip(images, others, strict=True))


def _words(path: Place) -> tuple[str, ...]:
    """Return what tells a file from the others: "Cell01_raw.tif" and "cell01-label.tif" are the same."""
    words = re.split(r"[^0-9a-z]+", stem(path).lower())
    return tuple(word for word in words if word and word not in _KINDS)
