"""The plan of a fit: what the user left open is decided here, once, by the volumes and the machine."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.datasets import CELLS, SAMPLE
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.fields import narrowed
from keras_unet3d.geometry import Geometry, Spacing, Triple
from keras_unet3d.machine import devices, hosts
from keras_unet3d.machine.precision import resolve_precision
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.patches.batches import Batching
from keras_unet3d.patches.samples import PatchSettings, Transform
from keras_unet3d.settings import AugmentationOptions, FitSettings, NetworkOptions
from keras_unet3d.settings.texts import parse_filters
from keras_unet3d.training.schedule import Schedule
from keras_unet3d.volumes import Volume
from keras_unet3d.volumes.grey_values import Normalization
from keras_unet3d.words import by
from keras_unet3d.workflows.data import LabelledData, other_channels
from keras_unet3d.workflows.fit import sections, sizes
from keras_unet3d.workflows.fit.grey_values import normalization_of

_EPOCHS, _STEPS = 20, 100
_BATCH_PER_DEVICE = 2
# The running mean of the weights spans such a share of all steps; by the clock as if so many steps a minute were spanned.
_AVERAGED_SHARE, _STEPS_PER_MINUTE, _MOST_EMA = 0.05, 30, 0.99
# Optimiser -> its largest learning rate.
_LEARNING_RATES = {"muon": 4e-3, "adamw": 2e-3, "sgd": 1e-2}
# Channels per level. Full resolution is what costs: it gets few of them.
_CPU_FILTERS = (8, 32, 64, 128)
_GPU_FILTERS = (32, 64, 128, 256)
_LARGEST_DEFORMATION, _DEFORMED_SHARE = 4.0, 0.05
# Of a network that is asked for by its base_filters.
_PAPER_DEPTH = 3


@dataclass(frozen=True)
class _Small:
    """What an embedded data set is learnt by, unless the settings say otherwise: it takes less time, and perhaps fewer weights."""

    epochs: int
    steps: int
    base_filters: int | None = 8
    depth: int | None = 3

    def fill(self, settings: FitSettings) -> FitSettings:
        if (settings.filters, settings.base_filters, settings.depth) == (None, None, None):
            settings = replace(settings, base_filters=self.base_filters, depth=self.depth)
        if settings.minutes is not None:
            return settings
        epochs, steps = settings.epochs or self.epochs, settings.steps_per_epoch or self.steps
        return replace(settings, epochs=epochs, steps_per_epoch=steps)


_EMBEDDED = {SAMPLE: _Small(7, 25), CELLS: _Small(12, 50, None, None)}


@dataclass(frozen=True)
class Plan:
    """What was decided for a fit: to every room its own object.

    Attributes:
        spec: the network, and what it means.
        patches: what a training patch is.
        batching: how patches become batches.
        schedule: how long, how fast, which loss.
        devices: on how many the training is spread.
        precision: Keras' dtype policy.
        settings: the same as options, nothing left open; what `config.json` keeps.
    """

    spec: ModelSpec
    patches: PatchSettings
    batching: Batching
    schedule: Schedule
    devices: int
    precision: str
    settings: FitSettings

    @property
    def unchanged_patches(self) -> PatchSettings:
        """What a patch is that nobody changes: one for validation."""
        return replace(self.patches, augment=None, transforms=())

    def with_engine(self, engine: str) -> "Plan":
        """Return the plan with another engine of augmentation."""
        patches, settings = replace(self.patches, engine=engine), replace(self.settings, engine=engine)
        return replace(self, patches=patches, settings=settings)

    def with_normalization(self, normalization: Normalization) -> "Plan":
        """Return the plan with another normalisation of the grey values."""
        spec = replace(self.spec, normalization=normalization)
        return replace(self, spec=spec, patches=replace(self.patches, normalization=normalization))

    def with_class_weights(self, weights: list[float] | None) -> "Plan":
        """Return the plan with a weight per class."""
        schedule = replace(self.schedule, class_weights=weights)
        return replace(self, schedule=schedule, batching=replace(self.batching, class_weights=weights))


def make_plan(
    data: LabelledData,
    settings: FitSettings,
    start: Architecture | None = None,
    transforms: Sequence[Transform] = (),
) -> Plan:
    """Decide what the settings leave open.

    Args:
        data: training and validation volumes, and what their labels mean.
        settings: what the user decided.
        start: the architecture of the network that is trained further, in the place of a new one.
        transforms: what is done to every training sample last.

    Raises:
        InputError: volumes of different channels, or settings that do not go together on these volumes or this machine.
    """
    images = [example.image for example in data.examples]
    refuse(other_channels(images))
    shape = tuple(np.median([image.shape for image in images], axis=0).round().astype(int).tolist())
    spacing, unit = common_spacing(images)
    # Those of files are named by their paths.
    if len({image.name for image in images}) == 1 and images[0].name in _EMBEDDED:
        settings = _EMBEDDED[images[0].name].fill(settings)
    stack, grey_values = sections_of(images, settings, settings.grey_values, data.grey_values)
    settings = replace(settings.as_stack(stack, data.table.of_instances), grey_values=grey_values)
    architecture = replace(
        start or _architecture(shape, spacing, settings, data.num_classes, settings.seed),
        input_shape=(None, None, None, images[0].channels),
        num_classes=data.num_classes,
        output="sigmoid" if data.table.overlapping else "probabilities",
    )
    if settings.deep_supervision and architecture.padding == "valid":
        raise InputError("deep_supervision: expected `padding=same`, found valid; leave one of the two out.")
    patch = _patch(shape, spacing, architecture.geometry, settings.patch)
    count = settings.devices or devices.device_count()
    batch_size = settings.batch_size or _BATCH_PER_DEVICE * count
    geometry = architecture.geometry
    # Where kernels look at one slice alone, or are not padded, there is no such convolution.
    deep = zip(geometry.sizes(patch), geometry.kernel_sizes, strict=True) if geometry.padding == "same" else ()
    slices = [size[0] for size, kernel in deep if kernel[0] > 1]
    precision = resolve_precision(settings.precision, min(architecture.channels(0)), slices)
    settings = replace(
        settings,
        patch=patch,
        deformation=_deformation(patch, spacing, settings),
        **network_options(architecture),
        batch_size=batch_size,
        devices=count,
        learning_rate=_given(settings.learning_rate, _LEARNING_RATES[settings.optimizer]),
        unlabelled=data.table.unlabelled,
        **_length(settings),
        precision=precision,
        workers=worker_count(settings.workers),
    )
    refuse(_device_faults(batch_size, settings.accumulate, count))
    # As it is before anything is fitted.
    normalization = normalization_of(grey_values, images[0].channels)
    spec = ModelSpec(architecture, data.table, normalization, patch, spacing, unit, data.options.keys).unsettled
    changes = changes_of(patch, spacing, settings, normalization)
    patches = PatchSettings(
        patch,
        architecture.geometry.output_of(patch),
        normalization,
        changes,
        settings.sampling,
        settings.engine,
        tuple(transforms),
        anywhere_of(stack),
    )
    on_device = settings.augment and settings.augment_on == "device"
    part = {"part": hosts.index(), "parts": hosts.count()}
    batching = narrowed(Batching, settings, on_device=on_device, class_weights=None, **part)
    length = {"epochs": settings.epochs or _EPOCHS, "steps_per_epoch": settings.steps_per_epoch or _STEPS}
    schedule = narrowed(Schedule, settings, class_weights=None, **length)
    return Plan(spec, patches, batching, schedule, count, precision, settings)


def _length(settings: FitSettings) -> dict[str, Any]:
    """Return epochs, steps and the running mean of the weights; by the clock the training finds the first two."""
    if settings.minutes is not None:
        return {"ema": _given(settings.ema, min(_MOST_EMA, round(1 - 1 / (_STEPS_PER_MINUTE * settings.minutes), 4)))}
    epochs, steps = settings.epochs or _EPOCHS, settings.steps_per_epoch or _STEPS
    ema = 0.0 if settings.freeze_encoder else max(0.0, round(1 - 1 / (_AVERAGED_SHARE * epochs * steps), 4))
    return {"epochs": epochs, "steps_per_epoch": steps, "ema": _given(settings.ema, ema)}


def _given(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def worker_count(asked: int | None) -> int:
    """Return the threads that make samples: as many as asked for, or one per core."""
    return asked or os.cpu_count() or 1


def _patch(shape: Triple, spacing: Spacing | None, geometry: Geometry, given: Triple | None) -> Triple:
    if given is not None:
        geometry.check(given, "patch")
        return given
    most = sizes.GPU_VOXELS if devices.has_gpu() else sizes.CPU_VOXELS
    return sizes.plan_patch(shape, spacing, geometry, most)


def sections_of(
    images: Sequence[Volume], options: AugmentationOptions, given: str | None, declared: Sequence[str] = ()
) -> tuple[bool, str]:
    """Return whether volumes are stacks of sections, and what is done to their grey values: `given`, `declared` or chosen."""
    stack = sections.is_stack(images) if options.sections == "auto" else options.sections == "yes"
    words = given or ",".join(declared)
    return stack, words or ("sections" if stack and sections.sections_differ(images) else "zscore")


def anywhere_of(stack: bool) -> tuple[int, ...]:
    """Return the axes along which a labelled voxel lies anywhere in its patch: those with few planes to be labelled."""
    return (0,) if stack else ()


def _device_faults(batch_size: int, accumulate: int, count: int) -> Iterator[str]:
    if batch_size % count:
        fewer = "" if hosts.count() > 1 else "add `devices=1`, or "
        yield f"batch_size: expected a multiple of the {count} devices, found {batch_size}; {fewer}change it."
    if count > 1 and accumulate > 1 and not devices.accumulates_on_devices():
        yield (
            f"accumulate: expected 1 on {count} devices of the TensorFlow backend, found {accumulate}; add "
            "`devices=1`, or set KERAS_BACKEND=jax."
        )


def _architecture(
    shape: Triple, spacing: Spacing | None, options: NetworkOptions, num_classes: int, seed: int
) -> Architecture:
    depth, filters = options.depth, None
    if options.filters:
        filters = parse_filters(options.filters)
        depth = len(filters)
    elif not options.base_filters:
        # Without padding every level costs a border, the bottom most of all.
        depth = depth or (3 if options.padding == "valid" else len(_CPU_FILTERS))
        known = _GPU_FILTERS if devices.has_gpu() else _CPU_FILTERS
        filters = (known + known[-1:] * depth)[:depth]
    depth = depth or _PAPER_DEPTH
    kernels, pools = sizes.plan_levels(shape, spacing, depth)
    return narrowed(
        Architecture,
        options,
        num_classes=num_classes,
        base_filters=options.base_filters or 1,
        filters=filters,
        depth=depth,
        kernel_sizes=kernels,
        pool_sizes=pools,
        seed=seed,
    )


def network_options(architecture: Architecture) -> dict[str, Any]:
    """Return the options that describe a network."""
    filters = architecture.filters and ",".join(map(str, architecture.filters))
    base_filters = None if filters else architecture.base_filters
    return narrowed(NetworkOptions, architecture, filters=filters, base_filters=base_filters).config()


def _deformation(patch: Triple, spacing: Spacing | None, options: AugmentationOptions) -> float:
    """Return a deformation that leaves small volumes recognisable, in voxels along the finest axis."""
    if options.deformation is not None:
        return options.deformation
    voxel = np.ones(3) if spacing is None else np.asarray(spacing)
    shortest = float((np.asarray(patch) * voxel).min() / voxel.min())
    return min(_LARGEST_DEFORMATION, options.grid_spacing / 2, round(shortest * _DEFORMED_SHARE, 1))


def changes_of(
    patch: Triple, spacing: Spacing | None, options: AugmentationOptions, normalization: Normalization
) -> AugmentSettings | None:
    """Return how strongly patches of volumes of that voxel size are changed; None for not at all."""
    if not options.augment:
        return None
    decided = replace(options, deformation=_deformation(patch, spacing, options))
    return decided.changes(min(spacing) if spacing else None, normalization == "sections")


def common_spacing(images: Sequence[Volume]) -> tuple[Spacing | None, str | None]:
    """Return the median voxel size and its unit, micrometres where units differ; None where a volume has none."""
    units = {image.unit for image in images}
    spacings = [image.spacing if len(units) == 1 else image.micrometres for image in images]
    known = [spacing for spacing in spacings if spacing]
    if len(known) < len(spacings):
        return None, None
    z, y, x = np.median(known, axis=0).tolist()
    return (z, y, x), units.pop() if len(units) == 1 else "um"


def changes_in_words(settings: FitSettings, spec: ModelSpec) -> str:
    """Return how strongly patches are changed, with lengths where the voxel size is known."""
    if not settings.augment:
        return "augmentation: none"

    def length(voxels: float) -> str:
        known = f" = {voxels * min(spec.spacing):.3g} {spec.unit}" if spec.spacing and spec.unit else ""
        return f"{voxels:g} voxels{known}"

    return (
        f"augmentation: rotation up to {settings.rotation:g} degrees, scaling, control points {length(settings.grid_spacing)} "
        f"apart moved by {length(settings.deformation or 0.0)}{', within the sections' if settings.sections == 'yes' else ''}, "
        f"grey values{' section by section' if spec.normalization == 'sections' else ''}"
        f"{f', mirrored along {settings.flips}' if settings.flips else ''}"
    )


def sections_in_words(plan: Plan) -> Iterator[str]:
    """Yield a line where something was chosen because the volumes are stacks of sections."""
    stack, grey_values = plan.settings.sections == "yes", plan.spec.normalization
    if stack or grey_values == "sections":
        found = {"sections": "differ: they are normalised one by one", "zscore": "are alike"}
        # Where something else is done to them nobody looked.
        differ = found.get(grey_values) if isinstance(grey_values, str) else None
        yield (
            f"sections: {'a stack of them, treated as such (`sections=no` would not)' if stack else 'no stack of them'}"
            + (f"; their grey values {differ} (`grey_values={grey_values}`)" if differ else "")
        )


def network_in_words(parameters: int, plan: Plan) -> str:
    """Return the network and its schedule."""
    settings = plan.settings
    doubled = f"{settings.base_filters} filters, doubled from level to level,"
    filters = f"{settings.filters} filters" if settings.filters else doubled
    return (
        f"network: {parameters:,} parameters, {filters} on {settings.depth} levels, {plan.precision}; patch "
        f"{by(plan.patches.patch)}, batch {plan.batching.batch_size}, {plan.schedule.in_words()}"
    )
