"""What a fit does before it trains: one label table, a plan, and the sources of patches."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from keras_unet3d.datasets import SAMPLE, DataKeys, DataSet, Example, agreed
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import (
    LabelTable,
    Survey,
    doubtful_value,
    infer_unlabelled,
    parse_classes,
    propose_table,
    survey,
    table_faults,
)
from keras_unet3d.machine import devices, precision
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.patches.samples import PatchSettings
from keras_unet3d.settings.fit import OPTIMIZERS, FitSettings, parse_filters
from keras_unet3d.volumes import Volume
from keras_unet3d.workflows.fit import sizes

_EPOCHS, _STEPS = 20, 100
_BATCH_PER_DEVICE = 2
# Channels per level. Full resolution is what costs: it gets few of them.
_CPU_FILTERS = (8, 32, 64, 128)
_GPU_FILTERS = (32, 64, 128, 256)
_LARGEST_DEFORMATION, _DEFORMED_SHARE = 4.0, 0.05
# Of a network that is asked for by its --base-filters.
_PAPER_DEPTH = 3
# A voxel size further than this from the others is worth a word.
SPACING_TOLERANCE = 1.25
# The embedded sample is small: it is learnt in less, and by fewer weights.
_SAMPLE_EPOCHS, _SAMPLE_STEPS = 7, 25
_SAMPLE_FILTERS, _SAMPLE_DEPTH = 8, 3


def twice(images: Sequence[Volume]) -> Iterator[str]:
    """Yield a sentence for every volume that occurs again: it would be weighted double, or validate itself."""
    seen = set()
    for image in images:
        # The path may be written in two ways; in HDF5 and Zarr the rest of the name is the data set.
        which = (image.path.resolve(), image.name.removeprefix(str(image.path))) if image.path else image.name
        if which in seen:
            yield f"{image.name}: expected every volume once, found it twice in DATA and --val; leave one out."
        seen.add(which)


def label_table(
    training: DataSet, validation: DataSet | None, settings: FitSettings, say: Callable[[str], None]
) -> LabelTable:
    """Return the label table of the training volumes; what validation holds must be in it."""
    surveys = [survey(example.label) for example in training.examples]
    declared = agreed([training, validation] if validation else [training])
    table = propose(surveys, *declared, settings, say)
    held_out = [survey(example.label) for example in validation.examples] if validation else []
    refuse(table_faults(table, {each.name: each.counts for each in (*surveys, *held_out)}))
    return table


def propose(
    surveys: Sequence[Survey],
    names: dict[int, str],
    unlabelled: tuple[int, ...],
    settings: FitSettings,
    say: Callable[[str], None],
) -> LabelTable:
    """Return the table that the surveyed volumes and the declarations suggest, and say what was inferred.

    What the user declares wins over what the data set declares (`names`, `unlabelled`), which wins over what is found.
    """
    unlabelled = tuple(dict.fromkeys((*settings.unlabelled, *unlabelled)))
    declared = parse_classes(settings.classes) if settings.classes else names
    if not (declared or unlabelled or settings.num_classes or settings.target == "boundaries"):
        unlabelled, why = infer_unlabelled(surveys)
        if unlabelled:
            say(f"unlabelled: {unlabelled[0]}, {why} (if that is wrong, declare the values with --classes)")
    counts = {each.name: each.counts for each in surveys}
    table = propose_table(counts, settings.num_classes, unlabelled, settings.target, declared)
    doubt = None if declared else doubtful_value(surveys, table)
    if doubt:
        say(doubt)
    return table


def describe(data: DataSet, table: LabelTable) -> str:
    """Return what was found, for the user to recognise: volumes, pairs of files, classes."""
    first, count = data.examples[0], len(data.examples)
    image = first.image
    spacing = f", voxel {' x '.join(f'{size:g}' for size in image.spacing)} {image.unit}" if image.spacing else ""
    lines = [
        f"data: {plural(count, 'volume')}, first {' x '.join(map(str, image.shape))} (z y x), "
        f"{plural(image.channels, 'channel')}{spacing}"
    ]
    if first.label.path != image.path:
        shown = ", ".join(f"{each.image.path.name} + {each.label.path.name}" for each in data.examples[:3])
        lines.append(f"pairs: {shown}{', ...' if count > 3 else ''}")
    unlabelled = f"; unlabelled: {', '.join(map(str, table.unlabelled))}" if table.unlabelled else ""
    return "\n".join([*lines, f"classes: {table.shown()}{unlabelled}"])


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def plan(
    examples: Sequence[Example],
    table: LabelTable,
    keys: DataKeys,
    settings: FitSettings,
    start: Architecture | None = None,
) -> tuple[ModelSpec, FitSettings]:
    """Decide what the settings leave open, by the volumes and the machine.

    Args:
        examples: training and validation volumes.
        table: of the labels.
        keys: how the files are read.
        settings: what the user decided.
        start: the architecture of the network that is trained further, in the place of a new one.
    """
    images = [example.image for example in examples]
    refuse(other_channels(images))
    shape = tuple(np.median([image.shape for image in images], axis=0).round().astype(int).tolist())
    spacing, unit = _common_spacing(images)
    gpu = devices.has_gpu()
    only_sample = all(image.name == SAMPLE for image in images)
    if only_sample and (settings.filters, settings.base_filters, settings.depth) == (None, None, None):
        settings = replace(settings, base_filters=_SAMPLE_FILTERS, depth=_SAMPLE_DEPTH)
    architecture = start or _architecture(shape, spacing, gpu, settings)
    architecture = replace(
        architecture, input_shape=(None, None, None, images[0].channels), num_classes=table.num_classes
    )
    if settings.deep_supervision and architecture.padding == "valid":
        raise InputError("deep_supervision: expected padding=same, found valid; leave one of the two out.")
    geometry = architecture.geometry
    if settings.patch:
        geometry.check(settings.patch, "patch")
    most = sizes.GPU_VOXELS if gpu else sizes.CPU_VOXELS
    count = settings.devices or devices.device_count()
    batch_size = settings.batch_size or _BATCH_PER_DEVICE * count
    if batch_size % count:
        raise InputError(
            f"batch_size: expected a multiple of the {count} devices, found {batch_size}; add --devices 1, or change it."
        )
    if count > 1 and settings.accumulate > 1 and not devices.accumulates_on_devices():
        raise InputError(
            f"accumulate: expected 1 on {count} devices of the TensorFlow backend, found {settings.accumulate}; add "
            "--devices 1, or set KERAS_BACKEND=jax."
        )
    patch = settings.patch or sizes.plan_patch(shape, spacing, geometry, most)
    settings = replace(
        settings,
        patch=patch,
        deformation=_deformation(patch, spacing, settings) if settings.deformation is None else settings.deformation,
        **network_settings(architecture),
        batch_size=batch_size,
        devices=count,
        learning_rate=OPTIMIZERS[settings.optimizer] if settings.learning_rate is None else settings.learning_rate,
        unlabelled=table.unlabelled,
        epochs=settings.epochs or (_SAMPLE_EPOCHS if only_sample else _EPOCHS),
        steps_per_epoch=settings.steps_per_epoch or (_SAMPLE_STEPS if only_sample else _STEPS),
        precision=precision.resolve_precision(settings.precision),
        workers=settings.workers or os.cpu_count() or 1,
    )
    return ModelSpec(architecture, table, "zscore", settings.patch, spacing, unit, keys), settings


def _architecture(shape: Triple, spacing, gpu: bool, settings: FitSettings) -> Architecture:
    depth, filters = settings.depth, None
    if settings.filters:
        filters = parse_filters(settings.filters)
        depth = len(filters)
    elif not settings.base_filters:
        # Without padding every level costs a border, the bottom most of all.
        depth = depth or (3 if settings.padding == "valid" else len(_CPU_FILTERS))
        known = _GPU_FILTERS if gpu else _CPU_FILTERS
        filters = (known + known[-1:] * depth)[:depth]
    depth = depth or _PAPER_DEPTH
    kernels, pools = sizes.plan_levels(shape, spacing, depth)
    return Architecture(
        base_filters=settings.base_filters or 1,
        filters=filters,
        depth=depth,
        padding=settings.padding,
        normalization=settings.normalization,
        block=settings.block,
        kernel_sizes=kernels,
        pool_sizes=pools,
        dropout=settings.dropout,
        seed=settings.seed,
    )


def network_settings(architecture: Architecture) -> dict:
    """Return the settings that describe a network."""
    filters = architecture.filters and ",".join(map(str, architecture.filters))
    same = ("depth", "padding", "normalization", "block", "dropout")
    return {name: getattr(architecture, name) for name in same} | {
        "filters": filters,
        "base_filters": None if filters else architecture.base_filters,
    }


def _deformation(patch: Triple, spacing, settings: FitSettings) -> float:
    """Return a deformation that leaves small volumes recognisable, in voxels along the finest axis."""
    voxel = np.ones(3) if spacing is None else np.asarray(spacing)
    shortest = float((np.asarray(patch) * voxel).min() / voxel.min())
    return min(_LARGEST_DEFORMATION, settings.grid_spacing / 2, round(shortest * _DEFORMED_SHARE, 1))


def _common_spacing(images: Sequence[Volume]):
    """Return the median voxel size and its unit, micrometres where units differ; None where a volume has none."""
    units = {image.unit for image in images}
    sizes = [image.spacing if len(units) == 1 else image.micrometres for image in images]
    if not all(sizes):
        return None, None
    return tuple(np.median(sizes, axis=0).tolist()), units.pop() if len(units) == 1 else "um"


def other_channels(images: Sequence[Volume]) -> Iterator[str]:
    """Yield a sentence for every volume with other channels than most."""
    channels = [image.channels for image in images]
    usual = max(channels, key=channels.count, default=1)
    like = next((image.name for image in images if image.channels == usual), "")
    for image in images:
        if image.channels != usual:
            yield (
                f"{image.name}: expected {usual} channels like {like}, found {image.channels}; "
                "leave the file out, or check --axes."
            )


def patch_settings(spec: ModelSpec, settings: FitSettings, augment: bool) -> PatchSettings:
    """Return the sizes and changes of the patches that the pipeline makes."""
    geometry = spec.architecture.geometry
    output = tuple(geometry.output_size(size, axis) for axis, size in enumerate(settings.patch))
    changes = settings.changes(min(spec.spacing) if spec.spacing else None)
    return PatchSettings(
        settings.patch, output, spec.normalization, changes if augment else None, settings.sampling, settings.engine
    )


def describe_changes(spec: ModelSpec, settings: FitSettings) -> str:
    """Return how strongly patches are changed, with lengths where the voxel size is known."""
    if not settings.augment:
        return "augmentation: none"

    def length(voxels: float) -> str:
        known = f" = {voxels * min(spec.spacing):.3g} {spec.unit}" if spec.spacing and spec.unit else ""
        return f"{voxels:g} voxels{known}"

    return (
        f"augmentation: rotation up to {settings.rotation:g} degrees, scaling, control points {length(settings.grid_spacing)} "
        f"apart moved by {length(settings.deformation)}, grey values"
        f"{f', mirrored along {settings.flips}' if settings.flips else ''}"
    )
