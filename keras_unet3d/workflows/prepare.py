"""What a fit does before it trains: one label table, a plan, and the sources of patches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_unet3d import planning, runtime
from keras_unet3d.architecture import Architecture
from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.datasets import SAMPLE, DataKeys, DataSet, Example
from keras_unet3d.errors import InputError
from keras_unet3d.intensity import measure
from keras_unet3d.labels import UNLABELLED, LabelTable, class_volume, count_values, infer_table
from keras_unet3d.pipeline import PatchSettings
from keras_unet3d.sampling import Source, index_labels, split_by_region, split_by_volume
from keras_unet3d.settings import FitSettings
from keras_unet3d.spec import ModelSpec
from keras_unet3d.volumes import Volume, in_memory

# Volumes that together take less are held in memory; larger ones are read crop by crop.
_MOST_IN_MEMORY = 2 * 2**30
_EPOCHS, _STEPS = 20, 100
# The embedded sample is small: it is learnt in less.
_SAMPLE_EPOCHS, _SAMPLE_STEPS = 7, 25


@dataclass(frozen=True)
class Split:
    """The sources of training and of validation patches, and a line on how they were told apart."""

    training: list[Source]
    validation: list[Source]
    said: str
    whole_volumes: bool


def refuse_twice(examples: Sequence[Example]) -> None:
    """Raise `InputError` where a volume occurs twice: it would be weighted double, or validate itself."""
    seen = set()
    for example in examples:
        if (example.file, example.image.name) in seen:
            raise InputError(
                f"{example.image.name}: expected every volume once, found it twice in DATA and --val; leave one out."
            )
        seen.add((example.file, example.image.name))


def label_table(training: DataSet, validation: DataSet | None, settings: FitSettings) -> LabelTable:
    """Return the label table of the training volumes; what validation holds must be in it."""
    unlabelled = tuple(dict.fromkeys((*settings.unlabelled, *training.unlabelled)))
    counts = _counts(training)
    table = infer_table(counts, settings.num_classes, unlabelled, settings.target, training.label_names)
    if validation:
        held_out = _counts(validation)
        infer_table(held_out, settings.num_classes, unlabelled, settings.target, training.label_names)
        for name, found in held_out.items():
            if table.target == "semantic":
                table.to_classes(np.array(list(found)), name)
    return table


def _counts(data: DataSet) -> dict[str, dict[int, int]]:
    return {example.label.name: count_values(example.label) for example in data.examples}


def describe(data: DataSet, table: LabelTable) -> str:
    """Return what was found, for the user to recognise: volumes, pairs of files, classes."""
    first, count = data.examples[0], len(data.examples)
    image = first.image
    spacing = f", voxel {' x '.join(f'{size:g}' for size in image.spacing)} {image.unit}" if image.spacing else ""
    lines = [
        f"data: {_plural(count, 'volume')}, first {' x '.join(map(str, image.shape))} (z y x), "
        f"{_plural(image.channels, 'channel')}{spacing}"
    ]
    if first.label.path != image.path:
        shown = ", ".join(f"{each.image.path.name} + {each.label.path.name}" for each in data.examples[:3])
        lines.append(f"pairs: {shown}{', ...' if count > 3 else ''}")
    pairs = zip(table.values, table.names, strict=True)
    classes = ", ".join(f"{value} {name}" if str(value) != name else name for value, name in pairs)
    unlabelled = f"; unlabelled: {', '.join(map(str, table.unlabelled))}" if table.unlabelled else ""
    return "\n".join([*lines, f"classes: {classes}{unlabelled}"])


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def plan(
    examples: Sequence[Example], table: LabelTable, keys: DataKeys, settings: FitSettings
) -> tuple[ModelSpec, FitSettings]:
    """Decide what the settings leave open, by the volumes and the machine."""
    images = [example.image for example in examples]
    _refuse_other_channels(images)
    shape = tuple(np.median([image.shape for image in images], axis=0).round().astype(int).tolist())
    spacings = [image.spacing for image in images if image.spacing]
    spacing = tuple(np.median(spacings, axis=0).tolist()) if len(spacings) == len(images) else None
    gpu = runtime.has_gpu()
    kernels, pools = planning.plan_levels(shape, spacing, settings.depth)
    architecture = Architecture(
        input_shape=(None, None, None, images[0].channels),
        num_classes=table.num_classes,
        base_filters=settings.base_filters or (32 if gpu else 8),
        depth=settings.depth,
        padding=settings.padding,
        normalization=settings.normalization,
        block=settings.block,
        kernel_sizes=kernels,
        pool_sizes=pools,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    geometry = architecture.geometry
    if settings.patch:
        geometry.check(settings.patch, "patch")
    most = planning.GPU_VOXELS if gpu else planning.CPU_VOXELS
    only_sample = all(image.name == SAMPLE for image in images)
    settings = replace(
        settings,
        patch=settings.patch or planning.plan_patch(shape, spacing, geometry, most),
        base_filters=architecture.base_filters,
        unlabelled=table.unlabelled,
        epochs=settings.epochs or (_SAMPLE_EPOCHS if only_sample else _EPOCHS),
        steps_per_epoch=settings.steps_per_epoch or (_SAMPLE_STEPS if only_sample else _STEPS),
        precision=runtime.resolve_precision(settings.precision),
        workers=settings.workers or os.cpu_count() or 1,
    )
    unit = images[0].unit if spacing else None
    return ModelSpec(architecture, table, "zscore", settings.patch, spacing, unit, keys), settings


def _refuse_other_channels(images: Sequence[Volume]) -> None:
    for image in images:
        if image.channels != images[0].channels:
            raise InputError(
                f"{image.name}: expected {images[0].channels} channels like {images[0].name}, found {image.channels}; "
                "leave the file out, or check --axes."
            )


def patch_settings(spec: ModelSpec, settings: FitSettings, augment: bool) -> PatchSettings:
    """Return the sizes and changes of the patches that the pipeline makes."""
    geometry = spec.architecture.geometry
    output = tuple(geometry.output_size(size, axis) for axis, size in enumerate(settings.patch))
    changes = AugmentSettings(
        rotation=settings.rotation, grid_spacing=settings.grid_spacing, deformation=settings.deformation
    )
    return PatchSettings(settings.patch, output, spec.normalization, changes if augment else None)


# ---- sources -------------------------------------------------------------------------------------


def split(
    training: DataSet, validation: DataSet | None, spec: ModelSpec, settings: FitSettings, say: Callable[[str], None]
) -> Split:
    """Read, check and index every volume, and tell training from validation."""
    examples = training.examples + (validation.examples if validation else ())
    keep = in_memory if _fits_in_memory(examples, say) else _as_it_is
    sources = [_source(example, spec.labels, keep) for example in examples]
    _say_padding(examples, settings.patch, say)
    count, classes = len(training.examples), spec.labels.num_classes
    if validation:
        return Split(sources[:count], sources[count:], f"{_plural(len(sources) - count, 'given volume')}", True)
    if count > 1:
        kept, held = split_by_volume(count, settings.validation_share, settings.seed)
        said = f"{len(held)} of {count} volumes"
        return Split([sources[i] for i in kept], [sources[i] for i in held], said, True)
    first, last, said = split_by_region(sources[0].classes, settings.validation_share, classes)
    parts = [replace(sources[0], classes=part, index=index_labels(part, classes)) for part in (first, last)]
    return Split([parts[0]], [parts[1]], said, False)


def _as_it_is(volume: Volume) -> Volume:
    return volume


def _fits_in_memory(examples: Sequence[Example], say: Callable[[str], None]) -> bool:
    volumes = [volume for example in examples for volume in (example.image, example.weight) if volume]
    total = sum(volume.nbytes for volume in volumes) + sum(int(np.prod(each.label.shape)) for each in examples)
    if total > _MOST_IN_MEMORY:
        say(f"memory: {total / 2**30:.1f} GB of volumes are read crop by crop")
        return False
    say(f"memory: holding {_plural(len(examples), 'volume')}, {total / 2**20:.0f} MB")
    return True


def _source(example: Example, table: LabelTable, keep: Callable[[Volume], Volume]) -> Source:
    image = keep(example.image)
    classes = keep(class_volume(example.label, table))
    weight = keep(example.weight) if example.weight else None
    if weight:
        _check_weight(weight, classes)
    index = index_labels(classes, table.num_classes)
    return Source(example.name, image, classes, weight, measure(image), index)


def _check_weight(weight: Volume, classes: Volume) -> None:
    counting = 0
    for box, voxels in weight.blocks():
        if not (np.isfinite(voxels) & (voxels >= 0)).all():
            raise InputError(f"{weight.name}: expected finite weights of 0 or more, found NaN or negative ones.")
        counting += int(((voxels > 0) & (classes.read(box) != UNLABELLED)).sum())
    if not counting:
        raise InputError(f"{weight.name}: expected weights above 0 at labelled voxels, found 0 at all of them.")


def _say_padding(examples: Sequence[Example], patch, say: Callable[[str], None]) -> None:
    small = [each for each in examples if any(n < p for n, p in zip(each.image.shape, patch, strict=True))]
    if small:
        say(
            f"patch: {' x '.join(map(str, patch))} is larger than {len(small)} of {_plural(len(examples), 'volume')} "
            f"(e.g. {small[0].name}, {' x '.join(map(str, small[0].image.shape))}), padded by mirroring"
        )
