"""Classes that overlap: unions of label values, or a channel each of the label files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.labels.table import UNLABELLED, LabelTable
from keras_unet3d.volumes import Volume

# Channels whose combinations are as many as there may be labels.
_MOST_CHANNELS = 6


def parse_regions(text: str) -> dict[str, tuple[int, ...]]:
    """Return names and raw values in a text like "whole=1+2,core=2"; no values in one like "whole,core", of channels.

    Raises:
        InputError: anything else, or a name that occurs twice.
    """
    regions: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, equals, union = (piece.strip() for piece in part.partition("="))
        values = [value.strip() for value in union.split("+")] if equals else []
        if not name or not all(value.removeprefix("-").isdecimal() for value in values):
            raise InputError(
                "regions: expected names with the label values that they are made of, like whole=1+2,core=2, or names alone for "
                f"label files with a channel each; found {part.strip()!r}."
            )
        if name in regions:
            raise InputError(f"regions: expected every name once, found {name!r} again.")
        regions[name] = tuple(int(value) for value in values)
    if len({bool(values) for values in regions.values()}) > 1:
        raise InputError(f"regions: expected label values for all of them or for none, found {text!r}.")
    if len(regions) > _MOST_CHANNELS and not all(regions.values()):
        raise InputError(f"regions: expected at most {_MOST_CHANNELS} channels, found {len(regions)}: {text!r}.")
    return regions


def region_table(
    regions: Mapping[str, tuple[int, ...]], written: Sequence[int] = (), unlabelled: Sequence[int] = ()
) -> LabelTable:
    """Return the table of classes that overlap.

    Args:
        regions: their names, and the raw values that each is made of; none where label files have a channel each.
        written: the raw value that a prediction writes for each, the last one on top; where there are none the largest
            region comes first, and each writes a value that no later one has.
        unlabelled: raw values that mean "nobody said".
    """
    if not all(regions.values()):
        combinations = range(2 ** len(regions))
        members = tuple(tuple(value for value in combinations if value >> bit & 1) for bit in range(len(regions)))
        return LabelTable((), tuple(regions), (UNLABELLED,) if unlabelled else (), regions=members)
    if written:
        return LabelTable(tuple(written), tuple(regions), tuple(unlabelled), regions=tuple(regions.values()))
    ordered = dict(sorted(regions.items(), key=lambda region: -len(region[1])))
    members = tuple(ordered.values())
    values = tuple(
        min(set(region).difference(*members[number + 1 :]) or region) for number, region in enumerate(members)
    )
    return LabelTable(values, tuple(ordered), tuple(unlabelled), regions=members)


def combined(volume: Volume, count: int, unlabelled: Sequence[int] = ()) -> Volume:
    """Return the masks of `count` channels as one raw value per voxel: bit n is whether channel n is not 0.

    It is `UNLABELLED` where any channel is unlabelled.

    Raises:
        InputError: another number of channels.
    """
    if volume.channels != count:
        raise InputError(
            f"{volume.name}: expected a channel for each of the {count} regions, found {volume.channels}; check `regions`, "
            "and `axes`."
        )

    def read(box: Box) -> np.ndarray:
        masks = volume.read(box)
        bits = ((masks != 0) << np.arange(count)).sum(axis=-1, keepdims=True).astype(np.uint8)
        nobody = np.isin(masks, tuple(unlabelled)).any(axis=-1, keepdims=True)
        return np.where(nobody, np.uint8(UNLABELLED), bits)

    return replace(volume, channels=1, dtype=np.dtype(np.uint8), read=read)
