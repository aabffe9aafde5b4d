"""The sources of patches: every volume read, checked and indexed, and training told from validation."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_unet3d.datasets import DataSet, Example
from keras_unet3d.errors import refuse
from keras_unet3d.labels import UNLABELLED, LabelTable, annotated_slices, class_volume, class_weights
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.holdout import split_by_volume, split_one
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.volumes import Volume, in_memory
from keras_unet3d.volumes.grey_values import measure
from keras_unet3d.workflows.fit.plan import plural


@dataclass(frozen=True)
class Split:
    """The sources of training and of validation patches.

    Attributes:
        training, validation: the sources.
        said: a line on how they were told apart.
        whole_volumes: whether whole volumes were held out.
        in_memory: whether all volumes are held in memory.
    """

    training: list[Source]
    validation: list[Source]
    said: str
    whole_volumes: bool
    in_memory: bool


def split(
    training: DataSet, validation: DataSet | None, spec: ModelSpec, settings: FitSettings, say: Callable[[str], None]
) -> Split:
    """Read, check and index every volume, and tell training from validation."""
    examples = training.examples + (validation.examples if validation else ())
    held = held_in_memory(examples, settings.memory)
    say(_described_memory(examples, held, settings.memory))
    sources = [
        _source(example, spec.labels, in_memory if kept else _as_it_is)
        for example, kept in zip(examples, held, strict=True)
    ]
    _say_padding(examples, settings.patch, say)
    count, share, classes = len(training.examples), settings.validation_share, spec.labels.num_classes
    if validation:
        return Split(
            sources[:count], sources[count:], f"{plural(len(sources) - count, 'given volume')}", True, all(held)
        )
    if not share:
        return Split(sources, sources, "nothing held out: its figures are of the training labels", False, all(held))
    if count > 1:
        kept, held_out = split_by_volume(count, share, settings.seed)
        said = f"{len(held_out)} of {count} volumes"
        return Split([sources[i] for i in kept], [sources[i] for i in held_out], said, True, all(held))
    parts = split_one(sources[0].classes, annotated_slices(sources[0].classes), share, classes, settings.seed)
    first, last = (
        replace(sources[0], classes=part, index=index_labels(part, classes))
        for part in (parts.training, parts.validation)
    )
    return Split([first], [last], parts.said, False, all(held))


def weigh_classes(split: Split, table: LabelTable, settings: FitSettings, say: Callable[[str], None]):
    """Return the weight of every class, by the training's labelled voxels; None for 1 everywhere."""
    counts = sum(source.index.per_class for source in split.training)
    weights = class_weights(settings.class_weights, table, counts)
    if weights:
        each = ", ".join(f"{name}: {weight:.3g}" for name, weight in zip(table.names, weights, strict=True))
        say(f"class weights: {each}")
    return weights


def _as_it_is(volume: Volume) -> Volume:
    return volume


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


def _described_memory(examples: Sequence[Example], held: Sequence[bool], most: float) -> str:
    sizes = np.array([_size(example) for example in examples])
    held = np.array(held)
    line = f"memory: holding {_of(int(held.sum()), len(held))}, {_bytes(sizes[held].sum())}"
    if held.all():
        return line
    return (
        f"{line}; the others, {_bytes(sizes[~held].sum())}, are read crop by crop "
        f"(--memory {math.ceil(sizes.sum() / 2**30)} would hold all; now {most:g} GB)"
    )


def _of(part: int, count: int) -> str:
    return plural(count, "volume") if part == count else f"{part} of {plural(count, 'volume')}"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def _source(example: Example, table: LabelTable, keep: Callable[[Volume], Volume]) -> Source:
    image = keep(example.image)
    classes = keep(class_volume(example.label, table))
    weight = keep(example.weight) if example.weight else None
    if weight:
        refuse(weight_faults(weight, classes))
        classes = where_weighted(classes, weight)
    index = index_labels(classes, table.num_classes)
    return Source(example.name, image, classes, weight, measure(image), index)


def weight_faults(weight: Volume, classes: Volume | None) -> Iterator[str]:
    """Yield what is wrong with the weights: channels, NaN or negative ones, 0 at all labelled voxels of `classes`."""
    if weight.channels != 1:
        yield f"{weight.name}: expected one weight per voxel, found {weight.channels} channels; correct --axes or the file."
        return
    counting = 0
    for box, voxels in weight.blocks():
        if not (np.isfinite(voxels) & (voxels >= 0)).all():
            yield f"{weight.name}: expected finite weights of 0 or more, found NaN or negative ones; correct them."
            return
        if classes is not None:
            counting += int(((voxels > 0) & (classes.read(box) != UNLABELLED)).sum())
    if classes is not None and not counting:
        yield f"{weight.name}: expected weights above 0 at labelled voxels, found 0 at all of them; correct them."


def where_weighted(classes: Volume, weight: Volume) -> Volume:
    """Return the class volume with voxels of weight 0 unlabelled, so that no patch is drawn around one."""

    def read(box):
        return np.where(weight.read(box) > 0, classes.read(box), np.uint8(UNLABELLED))

    return replace(classes, read=read)


def _say_padding(examples: Sequence[Example], patch, say: Callable[[str], None]) -> None:
    small = [each for each in examples if any(n < p for n, p in zip(each.image.shape, patch, strict=True))]
    if small:
        say(
            f"patch: {' x '.join(map(str, patch))} is larger than {len(small)} of {plural(len(examples), 'volume')} "
            f"(e.g. {small[0].name}, {' x '.join(map(str, small[0].image.shape))}), padded by mirroring"
        )
