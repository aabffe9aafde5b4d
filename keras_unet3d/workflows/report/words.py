"""What was decided for a run, in words for its page."""

from collections.abc import Iterator

from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.run_folder import RunConfig
from keras_unet3d.settings import FitSettings
from keras_unet3d.words import by, plural, some
from keras_unet3d.workflows.fit.plan import changes_in_words


def run_in_words(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield what was decided for a run: a heading, and a sentence."""
    settings, spec, data = (
        FitSettings.from_config(config.settings, "the settings of the run"),
        config.model,
        config.data,
    )
    voxel = f"; voxel {by(spec.spacing, '.3g')} {spec.unit or ''}" if spec.spacing else ""
    yield "Data", f"{plural(len(data.training), 'volume')}: {some(data.training)}{voxel}"
    yield (
        "Labels",
        spec.labels.shown() + (f"; unlabelled: {some(spec.labels.unlabelled)}" if spec.labels.unlabelled else ""),
    )
    yield "Validation", data.split
    yield "Network", _network_in_words(settings, spec)
    counted = f"{plural(settings.epochs or 0, 'epoch')} of {plural(settings.steps_per_epoch or 0, 'step')}"
    length = counted if settings.minutes is None else f"{settings.minutes:g} minutes"
    yield (
        "Training",
        (
            f"{length}; batches of {settings.batch_size} patches of {by(spec.patch)} voxels; {settings.loss} minimised by "
            f"{settings.optimizer}, learning rate up to {settings.learning_rate:g}, {settings.decay}"
        ),
    )
    yield "Augmentation", changes_in_words(settings, spec).removeprefix("augmentation: ")
    yield "Grey values", f"normalised by {spec.normalization}"
    if config.start:
        yield "Begun with", config.start
    if teacher := config.parts.get("teacher"):
        yield "Learnt from", str(teacher)
    yield "Afterwards", "; ".join(_settled_in_words(spec))
    yield "Computed on", _machine_in_words(config)


def _network_in_words(settings: FitSettings, spec: ModelSpec) -> str:
    filters = settings.filters or f"{settings.base_filters}, doubled from level to level"
    return (
        f"{settings.depth} levels, filters {filters}; {settings.block} blocks, {settings.normalization} normalisation, padding "
        f"{spec.architecture.padding}"
    )


def _settled_in_words(spec: ModelSpec) -> Iterator[str]:
    yield f"temperature {spec.temperature:.3f}" if spec.temperature != 1 else "no temperature"
    names = dict(zip(spec.labels.values, spec.labels.names, strict=False))
    yield "; ".join(f"{names[step.value]}: {step.in_words()}" for step in spec.cleaning) or "no cleaning"
    if spec.labels.of_instances:
        yield f"objects cut with {spec.instances.in_words()}"


def _machine_in_words(config: RunConfig) -> str:
    machine = config.machine
    parts = [f"{key} {machine[key]}" for key in ("processor", "cores", "backend") if key in machine]
    return ", ".join([*parts, f"precision {config.settings.get('precision')}"])
