"""The sources of patches: every volume read, checked and indexed, and training told from validation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_unet3d.datasets import DataSet, Example
from keras_unet3d.errors import refuse
from keras_unet3d.intensity import measure
from keras_unet3d.labels import UNLABELLED, LabelTable, annotated_slices, class_volume, class_weights
from keras_unet3d.sampling import Source, index_labels
from keras_unet3d.settings import FitSettings
from keras_unet3d.spec import ModelSpec
from keras_unet3d.splitting import split_by_volume, split_one
from keras_unet3d.volumes import Volume, in_memory
from keras_unet3d.workflows.prepare import plural

# Volumes that together take less are held in memory; larger ones are read crop by crop.
_MOST_IN_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Split:
    """The sources of training and of validation patches, and a line on how they were told apart."""

    training: list[Source]
    validation: list[Source]
    said: str
    whole_volumes: bool


def split(
    training: DataSet, validation: DataSet | None, spec: ModelSpec, settings: FitSettings, say: Callable[[str], None]
) -> Split:
    """Read, check and index every volume, and tell training from validation."""
    examples = training.examples + (validation.examples if validation else ())
    keep = in_memory if _fits_in_memory(examples, say) else _as_it_is
    sources = [_source(example, spec.labels, keep) for example in examples]
    _say_padding(examples, settings.patch, say)
    count, share, classes = len(training.examples), settings.validation_share, spec.labels.num_classes
    if validation:
        return Split(sources[:count], sources[count:], f"{plural(len(sources) - count, 'given volume')}", True)
    if not share:
        return Split(sources, sources, "nothing held out: its figures are of the training labels", False)
    if count > 1:
        kept, held = split_by_volume(count, share, settings.seed)
        said = f"{len(held)} of {count} volumes"
        return Split([sources[i] for i in kept], [sources[i] for i in held], said, True)
    parts = split_one(sources[0].classes, annotated_slices(sources[0].classes), share, classes, settings.seed)
    first, last = (
        replace(sources[0], classes=part, index=index_labels(part, classes))
        for part in (parts.training, parts.validation)
    )
    return Split([first], [last], parts.said, False)


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


def _fits_in_memory(examples: Sequence[Example], say: Callable[[str], None]) -> bool:
    volumes = [volume for example in examples for volume in (example.image, example.weight) if volume]
    total = sum(volume.nbytes for volume in volumes) + sum(int(np.prod(each.label.shape)) for each in examples)
    if total > _MOST_IN_MEMORY:
        say(f"memory: {total / 2**30:.1f} GB of volumes are read crop by crop")
        return False
    say(f"memory: holding {plural(len(examples), 'volume')}, {total / 2**20:.0f} MB")
    return True


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
