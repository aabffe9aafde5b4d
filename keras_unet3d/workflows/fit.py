"""`fit`: from volumes with a few labels to a run folder with a trained network."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d import planning, runtime
from keras_unet3d.architecture import Architecture
from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.datasets import SAMPLE, DataKeys, DataSet, Example, open_data
from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json, refuse_existing, write_json
from keras_unet3d.intensity import measure
from keras_unet3d.labels import LabelTable, class_volume, count_values, infer_table
from keras_unet3d.model import build, float32_copy
from keras_unet3d.pipeline import (
    PatchSettings,
    training_dataset,
    validation_dataset,
    validation_positions,
    validation_sample,
)
from keras_unet3d.prediction import trained_predictor
from keras_unet3d.sampling import Source, index_labels, split_by_region, split_by_volume
from keras_unet3d.settings import FitSettings
from keras_unet3d.spec import ModelSpec
from keras_unet3d.training import MONITORED, Callbacks, Schedule, Shown, train
from keras_unet3d.volumes import in_memory
from keras_unet3d.workflows import dense

# Volumes that together take less are held in memory; larger ones are read crop by crop.
_MOST_IN_MEMORY = 2 * 2**30
_VALIDATION_PATCHES = 32
_EPOCHS, _STEPS = 20, 100
# The embedded sample is small: it is learnt in less.
_SAMPLE_EPOCHS, _SAMPLE_STEPS = 8, 30


@dataclass(frozen=True)
class Run:
    """A finished fit.

    Attributes:
        path: the run folder.
        history: figures per epoch, a list per metric.
        best: the figures of the epoch whose network is in `model.keras`.
    """

    path: Path
    history: dict[str, list[float]]
    best: dict[str, float]


def fit(
    data: Sequence[str | Path],
    out: str | Path,
    *,
    val: Sequence[str | Path] = (),
    images: str | None = None,
    labels: str | None = None,
    settings: FitSettings = FitSettings(),
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Run:
    """Train a 3D U-Net on sparsely or densely labelled volumes.

    Args:
        data: HDF5 files, folders of them, folders with a `dataset.json`, or ["sample"].
        out: the run folder to make.
        val: further data, held out for validation; without it a part of `data` is.
        images, labels: globs of image and label files, instead of or beside `data`.
        settings: everything else; what is None is chosen and said.
        overwrite: whether an earlier run at `out` may be replaced.
        say: is given one line at a time.
        progress: is given steps done and steps in all.

    Returns:
        The run; its folder holds `config.json`, `model.keras`, `history.csv` and pictures.

    Raises:
        InputError: a `ValueError`: anything wrong with the data or the settings.
    """
    data = [data] if isinstance(data, str | Path) else list(data)
    out = Path(out)
    _make_room(out, overwrite)
    keys = DataKeys(settings.raw_key, settings.label_key, settings.weight_key, settings.axes)
    if settings.augment:
        load_elasticdeform()
    training = open_data(data, keys, images, labels)
    validation = open_data(list(val), keys) if val else None
    table = _table(training, validation, settings)
    say(_describe(training, table))
    spec, settings = _plan(training, table, keys, settings)
    fitted = _Fit(spec, settings, say)
    sources, held_out, split = fitted.sources(training, validation)
    say(f"validation: {split}")
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "settings": asdict(settings),
        "model": spec.config(),
        "data": {
            "arguments": [str(path) for path in data],
            "training": [source.name for source in sources],
            "validation": [source.name for source in held_out],
            "split": split,
        },
        "versions": runtime.versions(),
    }
    write_json(out / "config.json", config)
    history = fitted.train(sources, held_out, out, Callbacks(say, progress))
    best = _best(history)
    write_json(out / "config.json", config | {"best": best})
    say(f"best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f}, Dice {best['val_dice']:.3f}")
    if data == [SAMPLE]:
        dense.segment_sample(trained_predictor(_best_model(out), spec), out, say)
    say(_next_steps(out, data))
    return Run(out, history, best)


def _make_room(out: Path, overwrite: bool) -> None:
    refuse_existing(out, overwrite, "run folder")
    if out.is_dir() and any(out.iterdir()):
        # Only what is evidently a run is removed: the path may be mistyped.
        if not (out / "config.json").is_file():
            raise InputError(f"{out}: expected an earlier run to overwrite, found a folder without config.json.")
        read_json(out / "config.json", "the configuration of a run")
        shutil.rmtree(out)
    elif out.is_file():
        raise InputError(f"{out}: expected a folder to write the run to, found a file; choose another path.")


def _table(training: DataSet, validation: DataSet | None, settings: FitSettings) -> LabelTable:
    """Return one label table for all volumes; what validation holds must be in it as well."""
    sets = [training, validation] if validation else [training]
    counts = {example.label.name: count_values(example.label) for data in sets for example in data.examples}
    unlabelled = tuple(dict.fromkeys((*settings.unlabelled, *training.unlabelled)))
    return infer_table(counts, settings.num_classes, unlabelled, settings.target, training.label_names)


def _describe(data: DataSet, table: LabelTable) -> str:
    first = data.examples[0].image
    classes = ", ".join(
        f"{value} {name}" if str(value) != name else name for value, name in zip(table.values, table.names, strict=True)
    )
    unlabelled = f"; unlabelled: {', '.join(map(str, table.unlabelled))}" if table.unlabelled else ""
    count = len(data.examples)
    spacing = f", voxel {' x '.join(f'{size:g}' for size in first.spacing)} {first.unit}" if first.spacing else ""
    return (
        f"data: {count} volume{'s' if count > 1 else ''}, first {' x '.join(map(str, first.shape))} (z y x), "
        f"{first.channels} channel{'s' if first.channels > 1 else ''}{spacing}\nclasses: {classes}{unlabelled}"
    )


def _plan(data: DataSet, table: LabelTable, keys: DataKeys, settings: FitSettings) -> tuple[ModelSpec, FitSettings]:
    """Decide what the settings leave open."""
    images = [example.image for example in data.examples]
    for image in images:
        if image.channels != images[0].channels:
            raise InputError(
                f"{image.name}: expected {images[0].channels} channels like {images[0].name}, found {image.channels}."
            )
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
    patch = settings.patch or planning.plan_patch(shape, spacing, geometry, most)
    only_sample = all(image.name == SAMPLE for image in images)
    settings = replace(
        settings,
        patch=patch,
        base_filters=architecture.base_filters,
        num_classes=table.num_classes,
        unlabelled=table.unlabelled,
        epochs=settings.epochs or (_SAMPLE_EPOCHS if only_sample else _EPOCHS),
        steps_per_epoch=settings.steps_per_epoch or (_SAMPLE_STEPS if only_sample else _STEPS),
        precision=runtime.resolve_precision(settings.precision),
        workers=settings.workers or os.cpu_count() or 1,
    )
    unit = images[0].unit if spacing else None
    return ModelSpec(architecture, table, "zscore", patch, spacing, unit, keys), settings


@dataclass(frozen=True)
class _Fit:
    """The planned fit."""

    spec: ModelSpec
    settings: FitSettings
    say: Callable[[str], None]

    def sources(self, training: DataSet, validation: DataSet | None) -> tuple[list[Source], list[Source], str]:
        """Return training sources, validation sources, and a line on how they were told apart."""
        examples = training.examples + (validation.examples if validation else ())
        hold = self._holds(examples)
        sources = [self._source(example, hold) for example in examples]
        self._say_padding(examples)
        count = len(training.examples)
        if validation:
            return sources[:count], sources[count:], f"{len(sources) - count} given volumes"
        if count > 1:
            kept, held = split_by_volume(count, self.settings.validation_share, self.settings.seed)
            said = f"{len(held)} of {count} volumes"
            return [sources[i] for i in kept], [sources[i] for i in held], said
        share, classes = self.settings.validation_share, self.spec.labels.num_classes
        first, last, said = split_by_region(sources[0].classes, share, classes)
        parts = [replace(sources[0], classes=part, index=index_labels(part, classes)) for part in (first, last)]
        return [parts[0]], [parts[1]], said

    def _holds(self, examples: Sequence[Example]) -> bool:
        volumes = [volume for example in examples for volume in (example.image, example.weight) if volume]
        total = sum(volume.nbytes for volume in volumes) + sum(int(np.prod(e.label.shape)) for e in examples)
        if total <= _MOST_IN_MEMORY:
            self.say(f"memory: holding {len(examples)} volumes, {total / 2**20:.0f} MB")
            return True
        self.say(f"memory: {total / 2**30:.1f} GB of volumes are read crop by crop")
        return False

    def _source(self, example: Example, hold: bool) -> Source:
        keep = in_memory if hold else lambda volume: volume
        image = keep(example.image)
        classes = keep(class_volume(example.label, self.spec.labels))
        weight = keep(example.weight) if example.weight else None
        index = index_labels(classes, self.spec.labels.num_classes)
        return Source(example.name, image, classes, weight, measure(image), index)

    def _say_padding(self, examples: Sequence[Example]) -> None:
        patch = self.settings.patch
        small = [e for e in examples if any(n < p for n, p in zip(e.image.shape, patch, strict=True))]
        if small:
            self.say(
                f"patch: {' x '.join(map(str, patch))} is larger than {len(small)} of {len(examples)} volumes "
                f"(e.g. {small[0].name}, {' x '.join(map(str, small[0].image.shape))}), which are padded by mirroring"
            )

    def train(self, sources: list[Source], held_out: list[Source], out: Path, callbacks: Callbacks):
        settings = self.settings
        with runtime.dtype_policy(settings.precision):
            model = build(self.spec.architecture)
        patches = self._patches(augment=settings.augment)
        workers = settings.workers
        positions = validation_positions(held_out, self._patches(augment=False), _VALIDATION_PATCHES)
        self.say(
            f"network: {model.count_params():,} parameters, depth {settings.depth}, {settings.base_filters} filters, "
            f"{settings.precision}; patch {' x '.join(map(str, settings.patch))}, batch {settings.batch_size}, "
            f"{settings.epochs} epochs of {settings.steps_per_epoch} steps"
        )
        training = training_dataset(sources, patches, settings.batch_size, settings.seed, workers)
        validation = validation_dataset(held_out, self._patches(False), settings.batch_size, positions, workers)
        schedule = Schedule(settings.epochs, settings.steps_per_epoch, settings.learning_rate, settings.loss)
        sample = validation_sample(held_out, self._patches(False), positions[0])
        shown = Shown(sample, self.spec.labels.names, self.spec.spacing)
        return train(model, training, validation, shown, schedule, out, callbacks)

    def _patches(self, augment: bool) -> PatchSettings:
        s, geometry = self.settings, self.spec.architecture.geometry
        output = tuple(geometry.output_size(size, axis) for axis, size in enumerate(s.patch))
        changes = AugmentSettings(rotation=s.rotation, grid_spacing=s.grid_spacing, deformation=s.deformation)
        return PatchSettings(tuple(s.patch), output, self.spec.normalization, changes if augment else None)


def _best(history: dict[str, list[float]]) -> dict[str, float]:
    epoch = int(np.argmax(history[MONITORED]))
    return {"epoch": epoch + 1} | {name: float(values[epoch]) for name, values in history.items()}


def _best_model(out: Path):
    import keras

    return float32_copy(keras.models.load_model(out / "model.keras", compile=False, safe_mode=True))


def _next_steps(out: Path, data: Sequence[str | Path]) -> str:
    evaluated = data[0] if data else "DATA"
    return (
        f"\nrun folder: {out}  (model.keras, history.csv, curves.png, slices.png, logs/)\n"
        "next:\n"
        f"  unet3d-cli predict {out} VOLUME --out LABELS      segment a volume\n"
        f"  unet3d-cli evaluate {out} {evaluated}               IoU and Dice on labelled data\n"
        f"  unet3d-cli export {out} --name NAME --out models  a bundle for the zoo"
    )
