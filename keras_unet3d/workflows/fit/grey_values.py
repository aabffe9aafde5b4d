"""How a fit normalises grey values: what its options, or the data set, ask for becomes what the network is kept with."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import add

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.patches.source import Source
from keras_unet3d.settings.texts import parse_grey_values
from keras_unet3d.volumes import in_threads
from keras_unet3d.volumes.grey_values import Normalization, Rescaling, in_words, measure, moments_of
from keras_unet3d.volumes.percentiles import percentiles

# Of the foreground: what is beyond them is clipped, as in nnU-Net (Isensee et al. 2021).
_ENDS = (0.5, 99.5)
# Word of `choices.ASKED_GREY_VALUES` -> what is done to a channel. As StarDist does (Schmidt et al. 2018), but for the range:
# what augmentation adds is meant for a standard deviation of about 1. What "ct" is is not known before the foreground is.
ASKED: dict[str, Rescaling | str] = {
    "zscore": "zscore",
    "percentile": Rescaling("percentiles", 1.0, 99.8, (-2.0, 2.0)),
    "ct": Rescaling("values"),
    "sections": "sections",
    "none": "none",
}


def normalization_of(text: str, channels: int) -> Normalization:
    """Return what a text like "zscore" or "ct,none" asks for; "ct" is in it until `of_foreground` says what that is.

    Raises:
        InputError: as many words as there are neither channels nor one.
    """
    words = _words(text, channels)
    return ASKED[words[0]] if len(set(words)) == 1 else tuple(ASKED[word] for word in words)


def _words(text: str, channels: int) -> tuple[str, ...]:
    words = parse_grey_values(text)
    if len(words) not in (1, channels):
        raise InputError(f"grey_values: expected one word, or one for each of {channels} channels; found {text!r}.")
    return words * channels if len(words) == 1 else words


def of_foreground(text: str, sources: Sequence[Source], table: LabelTable) -> Normalization:
    """Return the normalisation that `text` asks for, with what "ct" is by the foreground of the sources, read in blocks.

    Raises:
        InputError: no foreground, or one of a single grey value.
    """
    channels = sources[0].image.channels
    words = _words(text, channels)
    wanted = [number for number, word in enumerate(words) if word == "ct"]
    measured = dict(zip(wanted, clipped(lambda: _foreground(sources, table, wanted)) if wanted else (), strict=True))
    parts = tuple(measured.get(number, ASKED[word]) for number, word in enumerate(words))
    return parts[0] if len(set(parts)) == 1 else parts


def clipped(blocks: Callable[[], Iterable[np.ndarray]]) -> list[Rescaling]:
    """Return per column what clips values at two percentiles, and scales them by mean and standard deviation of all.

    Args:
        blocks: returns arrays `(voxels, columns)`, the same ones at every call.
    """
    moments = [moments_of(block) for block in blocks()]
    if not moments:
        raise InputError("grey_values: expected labelled foreground for ct, found none; take `grey_values=zscore`.")
    together = reduce(add, moments)
    std = np.sqrt(together.squares / together.count)
    ends = percentiles(blocks, _ENDS)
    if not (ends[:, 0] < ends[:, 1]).all():
        raise InputError(
            f"grey_values: expected foreground of several grey values for ct, found hardly any but {ends[0, 0]:g}; take "
            "`grey_values=zscore`."
        )
    scaled = (ends - together.mean[:, None]) / std[:, None]
    return [
        Rescaling("values", low, high, (first, last), clip=True)
        for (low, high), (first, last) in zip(ends.tolist(), scaled.tolist(), strict=True)
    ]


def _foreground(sources: Sequence[Source], table: LabelTable, channels: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the labelled voxels that are no background `(voxels, channels)`, where there are any, block by block."""
    # Instances that touch everywhere have no background.
    without = {UNLABELLED} if table.target == "boundaries" else {UNLABELLED, table.background}

    def voxels(source: Source, box: Box) -> np.ndarray:
        # What may be of several classes may be background.
        taken = ~np.isin(table.as_classes(source.classes.read(box)[..., 0]), [*without])
        return source.image.read(box)[taken][:, channels]

    for source in sources:
        for block in in_threads(partial(voxels, source), source.image.boxes()):
            if len(block):
                yield block


def settled_on(
    sources: list[Source], training: int, text: str, table: LabelTable, listener: Listener = SILENT, why: str = ""
) -> tuple[list[Source], Normalization]:
    """Return the sources with the statistics that the normalisation `text` asks for, and what that is; and say it.

    Args:
        sources: as read with `normalization_of(text)`.
        training: how many of them, the first ones, say what "ct" is: all that may be trained on, so that folds agree.
        text: what is asked for.
        table: which class is the background.
        listener: is told what is not usual.
        why: who asked for it.
    """
    how = of_foreground(text, sources[:training], table)
    if "ct" in parse_grey_values(text):
        sources = [replace(source, statistics=measure(source.image, how)) for source in sources]
    if how not in ("zscore", "sections"):
        listener.say(f"grey values: {text}{why}: {in_words(how)}")
    return sources, how
