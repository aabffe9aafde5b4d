"""The volumes of a fit, read and indexed: how many of them are held in memory, and what the classes weigh."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import Example
from keras_unet3d.files import temporary_place
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import LabelTable, border_weights, class_weights
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.source import Source, read_source
from keras_unet3d.settings import PatchOptions
from keras_unet3d.volumes import unpacker
from keras_unet3d.volumes.grey_values import Normalization
from keras_unet3d.words import by, plural


def read_sources(
    examples: Sequence[Example],
    table: LabelTable,
    memory: float,
    listener: Listener = SILENT,
    normalization: Normalization = "zscore",
    beside: Path | None = None,
) -> list[Source]:
    """Return the sources of patches, of which the smallest are held in memory until they take `memory` GB.

    What is compressed and not held is unpacked once, on the disk of the path that it is to be `beside`, or where temporary files
    are.
    """
    held = held_in_memory(examples, memory)
    listener.say(_memory_in_words(examples, held, memory))
    size = sum(_packed_size(example) for example, hold in zip(examples, held, strict=True) if not hold)
    unpack = None
    if size:
        folder = beside.resolve().parent if beside else temporary_place()
        listener.say(f"unpacking what is compressed and not held in memory, {_bytes(size)} in {folder} until the end")
        unpack = unpacker(folder, size)
    return [
        read_source(example, table, hold, normalization, unpack) for example, hold in zip(examples, held, strict=True)
    ]


def bordered(
    examples: Sequence[Example], table: LabelTable, options: PatchOptions, listener: Listener = SILENT
) -> list[Example]:
    """Return the examples with weights of the voxels between instances, where the options ask for them, times their own.

    Raises:
        InputError: labels that are no instances.
    """
    if not options.border_weight:
        return [*examples]
    listener.say(
        f"border weights: up to {1 + options.border_weight:g} where instances touch, falling over {options.border_sigma:g} "
        "voxels along the finest axis; computed for every training volume"
    )

    def weighted(example: Example) -> Example:
        borders = border_weights(
            example.label, table, options.border_weight, options.border_sigma, example.image.spacing
        )
        own = example.weight
        if own is None:
            return replace(example, weight=borders)
        both = replace(own, dtype=borders.dtype, read=lambda box: borders.read(box) * own.read(box), packed=True)
        return replace(example, weight=both)

    return [weighted(example) for example in examples]


def weigh_classes(holdout: Holdout, table: LabelTable, text: str | None, listener: Listener) -> list[float] | None:
    """Return the weight of every class, or label, that `text` asks for, by the training's labelled voxels; None for 1 everywhere."""
    counts = np.sum([source.index.per_class for source in holdout.training], axis=0)
    weights = class_weights(text, table, counts)
    if weights:
        by_name = ", ".join(f"{name}: {weight:.3g}" for name, weight in zip(table.label_names, weights, strict=True))
        listener.say(f"class weights: {by_name}")
    return weights


def held_in_memory(examples: Sequence[Example], most: float) -> list[bool]:
    """Return which examples are held in memory: the smallest, until they take `most` GB."""
    total, held = 0, [False] * len(examples)
    for number in sorted(range(len(examples)), key=lambda number: _size(examples[number])):
        total += _size(examples[number])
        held[number] = total <= most * 2**30
    return held


def _size(example: Example) -> int:
    """Return the bytes that an example takes in memory; classes take one per voxel."""
    images = [volume for volume in (example.image, example.weight) if volume]
    return sum(volume.nbytes for volume in images) + math.prod(example.label.shape)


def _packed_size(example: Example) -> int:
    """Return the bytes that what is packed of an example takes unpacked; classes take one per voxel."""
    images = [volume for volume in (example.image, example.weight) if volume and volume.packed]
    return sum(volume.nbytes for volume in images) + example.label.packed * math.prod(example.label.shape)


def _memory_in_words(examples: Sequence[Example], held: Sequence[bool], most: float) -> str:
    sizes, is_held = np.array([_size(example) for example in examples]), np.array(held)
    count = int(is_held.sum())
    volumes = plural(count, "volume") if is_held.all() else f"{count} of {plural(len(held), 'volume')}"
    line = f"memory: holding {volumes}, {_bytes(sizes[is_held].sum())}"
    if is_held.all():
        return line
    return (
        f"{line}; the others, {_bytes(sizes[~is_held].sum())}, are read crop by crop "
        f"(`memory={math.ceil(sizes.sum() / 2**30)}` would hold all; now {most:g} GB)"
    )


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def padding_in_words(examples: Sequence[Example], patch: Triple) -> list[str]:
    """Return a line where volumes are smaller than the patch; none where all are as large."""
    small = [example for example in examples if any(n < p for n, p in zip(example.image.shape, patch, strict=True))]
    if not small:
        return []
    return [
        f"patch: {by(patch)} is larger than {len(small)} of {plural(len(examples), 'volume')} "
        f"(e.g. {small[0].name}, {by(small[0].image.shape)}), padded by mirroring"
    ]
