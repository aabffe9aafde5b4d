"""What a fit can be told, in the groups that its rooms take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from keras_unet3d.augment.draw import WIDEST_GRID, AugmentSettings
from keras_unet3d.choices import (
    AUGMENT_ON,
    AUGMENTATION_ENGINES,
    BLOCKS,
    DECAYS,
    LOSSES,
    NORMALIZATIONS,
    OPTIMIZERS,
    PADDINGS,
    PRECISIONS,
    SAMPLINGS,
    SECTIONS,
    TARGETS,
    TRACKERS,
)
from keras_unet3d.datasets import DataKeys, parse_annotated
from keras_unet3d.fields import MOST_SEED, Validated, option
from keras_unet3d.geometry import AXES, MOST_BATCH, MOST_CHANNELS, MOST_LEVELS, MOST_SIZE, Triple
from keras_unet3d.labels import MOST_CLASSES, check_class_weights, parse_classes, parse_regions
from keras_unet3d.settings.texts import flip_faults, parse_filters, parse_fold, parse_grey_values

# Far beyond anything sensible; more would be found out only after the data were read, or take all of the machine.
_MOST_EPOCHS, _MOST_STEPS, _MOST_ACCUMULATED = 10**6, 10**6, 10**4
_MOST_MINUTES = 10**6
_MOST_DEVICES, _MOST_THREADS = 1024, 1024
# What a label volume can hold.
_LEAST_LABEL, _MOST_LABEL = -(2**63), 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class DataOptions(Validated):
    """How DATA is read, what its label values mean, and how much of it is held out."""

    num_classes: int | None = option(
        None, "Labels are 0 to N-1 [default: the values found].", least=2, most=MOST_CLASSES
    )
    classes: str | None = option(None, "Label values and names, like 0=background,7=cell [default: the values found].")
    unlabelled: tuple[int, ...] = option(
        (),
        "Raw label value that means unlabelled; may be repeated [default: what is obvious, and said].",
        least=_LEAST_LABEL,
        most=_MOST_LABEL,
    )
    target: str = option(
        "semantic",
        "What label values are: classes; instances that touch everywhere, whose boundaries are learnt; or cells on a background.",
        TARGETS,
    )
    background: int = option(
        0, "Raw label value of what is no cell, for `target=cells`.", least=_LEAST_LABEL, most=_MOST_LABEL
    )
    regions: str | None = option(
        None,
        "Classes that overlap, as unions of label values, like whole=1+2,core=2; or their names alone, like whole,core, where "
        "label files have a channel each.",
    )
    annotated: tuple[str, ...] = option(
        (),
        "Files in which only some label values were annotated, like b_*.nii.gz=0,2; may be repeated. What is background there "
        "may be any of the other classes.",
    )
    raw_key: str = option("raw", "Data set of the image in HDF5 or Zarr.")
    label_key: str = option("label", "Data set of the labels in HDF5 or Zarr.")
    weight_key: str = option("weight", "Data set of voxel weights in HDF5 or Zarr, used where it is present.")
    axes: str | None = option(None, "Order of the file's axes, e.g. czyx; needed where there are four.")
    scene: str | None = option(None, "Which of several scenes of a file, by its name or its number from 0.")
    time: int | None = option(None, "Which of several points in time of a file, from 0.", least=0)
    validation_share: float | None = option(
        None,
        "Share of volumes, or of a volume's annotated slices, held out where no `val` is given; 0 for none [default: a "
        "fifth, at most 20 volumes].",
    )
    fold: str | None = option(
        None, "Hold out one of several parts instead, like 2/5: the second fifth [default: by `validation_share`]."
    )

    @property
    def keys(self) -> DataKeys:
        """Names and axes in the files."""
        return DataKeys(self.raw_key, self.label_key, self.weight_key, self.axes, self.scene, self.time)

    @property
    def held_fold(self) -> tuple[int, int] | None:
        """Which of how many parts is held out; None for a share."""
        return None if self.fold is None else parse_fold(self.fold)

    def faults(self) -> Iterator[str]:
        if self.validation_share is not None and not 0 <= self.validation_share < 1:
            yield f"validation_share: expected a share of at least 0 and below 1, found {self.validation_share}."
        if self.fold is not None:
            parse_fold(self.fold)
            if self.validation_share != type(self).validation_share:
                yield f"fold: expected without `validation_share`, found both ({self.fold}); leave one of them out."
        if self.background != type(self).background and self.target != "cells":
            yield f"background: expected with `target=cells`, found it with `target={self.target}`; leave it out."
        if self.num_classes is not None and self.target != "semantic":
            yield f"num_classes: expected none with `target={self.target}`, found {self.num_classes}; leave one of them out."
        if self.regions is not None:
            parse_regions(self.regions)
            others = {"classes": self.classes, "num_classes": self.num_classes, "annotated": self.annotated or None}
            if self.target != "semantic" or any(value is not None for value in others.values()):
                other = next(
                    (f"`{name}`" for name, value in others.items() if value is not None), f"`target={self.target}`"
                )
                yield f"regions: expected to be given alone, found {other} too; leave one of them out."
        if self.annotated:
            parse_annotated(self.annotated)
            if self.target != "semantic":
                yield f"annotated: expected with classes, found `target={self.target}`; leave one of them out."
        if self.classes is not None:
            both = set(parse_classes(self.classes)) & set(self.unlabelled)
            if both:
                yield f"classes: expected values that are not unlabelled too, found {min(both)} in both."
            if self.num_classes is not None or self.target != "semantic":
                other = "`num_classes`" if self.num_classes is not None else f"`target={self.target}`"
                yield f"classes: expected to be given alone, found {other} too; leave one of them out."


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Validated):
    """The network."""

    base_filters: int | None = option(
        None,
        "Channels of the first convolution, doubled as in the paper [default: by `filters`].",
        least=1,
        most=MOST_CHANNELS,
    )
    filters: str | None = option(
        None, "Channels per level, like 8,32,64,128, in the place of `base_filters` [default: chosen]."
    )
    depth: int | None = option(
        None, "Resolution steps of the network [default: 4, or those of `filters`].", least=1, most=MOST_LEVELS
    )
    padding: str = option("same", "Padding of the convolutions; valid is the paper's.", PADDINGS)
    normalization: str = option("batch", "Normalisation layers.", NORMALIZATIONS)
    block: str = option("plain", "Kind of convolution block.", BLOCKS)
    dropout: float = option(0.0, "Share of activations dropped after each block.", least=0)

    def faults(self) -> Iterator[str]:
        if not self.dropout < 1:
            yield f"dropout: expected a share from 0 to below 1, found {self.dropout}."
        if self.filters is None:
            return
        depth = len(parse_filters(self.filters))
        if self.base_filters is not None:
            yield "filters: expected to be given without `base_filters`, found both; leave one of them out."
        if self.depth not in (None, depth):
            yield f"filters: expected {self.depth} numbers, one per level, found {depth}."


@dataclass(frozen=True, kw_only=True)
class PatchOptions(Validated):
    """The patches that a step is trained on."""

    patch: Triple | None = option(None, "Size of the training patches, voxels z y x.", least=1, most=MOST_SIZE)
    batch_size: int | None = option(
        None, "Patches per step, on all devices [default: 2 per device].", least=1, most=MOST_BATCH
    )
    grey_values: str | None = option(
        None,
        "Normalisation of the grey values, one word or one per channel, like ct,zscore: by mean and deviation of a volume "
        "(zscore), by its percentiles (percentile), clipped and scaled by the labelled foreground of all volumes (ct), by mean "
        "and deviation of every section across z (sections), or none [default: what a dataset.json says; zscore, or sections "
        "where those of a stack differ].",
    )
    sampling: str = option("classes", "Patch centres: every class alike often, or every labelled voxel.", SAMPLINGS)
    border_weight: float = option(
        0.0,
        "Added to the weight of voxels between two instances, as in the 2D U-Net, whose is 10: so much where they touch, "
        "falling with the distances to both.",
        least=0,
        most=1e4,
    )
    border_sigma: float = option(
        5.0, "How far that reaches, a standard deviation in voxels along the finest axis.", least=0.5, most=50
    )

    def faults(self) -> Iterator[str]:
        if self.grey_values is not None:
            parse_grey_values(self.grey_values)
        yield from ()


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Validated):
    """How patches are changed, by what, and where."""

    augment: bool = option(True, "Rotate, scale, deform and change grey values of every patch.")
    engine: str = option(
        "auto",
        "What deforms the patches: elasticdeform, or native, which is many times as fast and linear instead of cubic; "
        "auto takes elasticdeform where it costs less than a tenth of a step.",
        ("auto", *AUGMENTATION_ENGINES),
    )
    augment_on: str = option("host", "Where: in threads of the host, or on the device that trains.", AUGMENT_ON)
    sections: str = option(
        "auto",
        "Whether volumes are stacks of sections, whose patches are turned, scaled and deformed within the sections alone; auto: "
        "microscopy whose voxels are 4 times as long along z, or longer.",
        SECTIONS,
    )
    rotation: float | None = option(
        None,
        "Largest rotation about each axis, degrees [default: 15; any, within the sections of a stack].",
        least=0,
        most=180,
    )
    grid_spacing: float = option(
        32.0, "Distance of the deformation's control points, voxels along the finest axis.", least=2, most=WIDEST_GRID
    )
    deformation: float | None = option(
        None,
        "Standard deviation of their displacements, voxels along the finest axis [default: a twentieth of the patch's "
        "shortest side, at most 4].",
        least=0,
    )
    flips: str | None = option(
        None,
        "Axes along which patches may be mirrored, like yx, '' for none [default: none; zyx for instances, and in a stack "
        "of sections].",
    )

    def faults(self) -> Iterator[str]:
        yield from flip_faults(self.flips)
        # What it refuses is refused before anything is read.
        self.changes()
        if self.augment_on == "device" and self.engine == "elasticdeform":
            yield "engine: expected native or auto with `augment_on=device`, found elasticdeform."

    def as_stack(self, is_one: bool, of_instances: bool = False) -> Self:
        """Return the options with those decided that depend on whether volumes are stacks of sections, and labels instances."""
        rotation = (180.0 if is_one else 15.0) if self.rotation is None else self.rotation
        # A cell in a mirror is a cell, which an organ need not be.
        flips = "zyx" if self.flips is None and (is_one or of_instances) else self.flips
        return replace(self, sections="yes" if is_one else "no", rotation=rotation, flips=flips)

    def changes(self, voxel: float | None = None, by_section: bool = False) -> AugmentSettings:
        """Return how strongly patches are changed.

        Args:
            voxel: the length that distances are given in.
            by_section: whether grey values change in every section independently.
        """
        if self.rotation is None:
            return self.as_stack(self.sections == "yes").changes(voxel, by_section)
        return AugmentSettings(
            rotation=self.rotation,
            grid_spacing=self.grid_spacing,
            deformation=min(4.0, self.grid_spacing / 2) if self.deformation is None else self.deformation,
            voxel=voxel,
            flips=tuple(AXES.index(axis) for axis in self.flips or ""),
            in_plane=self.sections == "yes",
            by_section=by_section,
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(Validated):
    """How long and how fast, and what is minimised."""

    minutes: float | None = option(
        None,
        "Train for so long: the learning rate falls to 0 by the clock, in the place of `epochs` and `steps_per_epoch`.",
        least=0.1,
        most=_MOST_MINUTES,
    )
    epochs: int | None = option(None, "Epochs [default: 20].", least=1, most=_MOST_EPOCHS)
    steps_per_epoch: int | None = option(None, "Steps per epoch [default: 100].", least=1, most=_MOST_STEPS)
    loss: str = option("crossentropy+dice", "What is minimised, over labelled voxels.", LOSSES)
    class_weights: str | None = option(
        None, "Per class, like background=0.5,cell=3; or balanced: every class has the same influence, as in the paper."
    )
    optimizer: str = option("muon", "Muon, AdamW, or SGD with momentum 0.99, as the paper's.", OPTIMIZERS)
    learning_rate: float | None = option(
        None, "Its largest value [default: 0.004 for muon, 0.002 for adamw, 0.01 for sgd].", least=0, most=100
    )
    decay: str = option("polynomial", "Of the learning rate over all epochs.", DECAYS)
    warmup: int = option(0, "Steps over which the learning rate rises.", least=0, most=_MOST_STEPS)
    clip: float = option(0.0, "Largest norm of a gradient; 0 for none.", least=0, most=1e6)
    ema: float | None = option(
        None,
        "Share of the old value in a running mean of the weights, which is validated and kept; 0 for none [default: so that "
        "it spans a twentieth of the training].",
        least=0,
    )
    accumulate: int = option(
        1, "Batches whose gradients make one change of the weights.", least=1, most=_MOST_ACCUMULATED
    )
    early_stop: int | None = option(
        None, "Stop after so many epochs without a better IoU [default: never].", least=1, most=_MOST_EPOCHS
    )
    deep_supervision: bool = option(False, "Train the lower levels on the labels as well.")
    freeze_encoder: int = option(
        0, "First epochs that leave the analysis path as it is; for a `start`.", least=0, most=_MOST_EPOCHS
    )
    seed: int = option(0, "Of initial weights, split and samples.", least=0, most=MOST_SEED)

    def faults(self) -> Iterator[str]:
        if self.ema is not None and self.ema >= 1:
            yield f"ema: expected a share of at least 0 and below 1, found {self.ema}."
        for name in ("epochs", "steps_per_epoch", "warmup", "freeze_encoder"):
            if self.minutes is not None and getattr(self, name):
                yield f"minutes: expected to be given without `{name}`, found both; leave one of them out."
        if self.ema and self.freeze_encoder:
            yield "ema: expected 0 with `freeze_encoder`, found more; leave one of the two out."
        if self.class_weights is not None:
            check_class_weights(self.class_weights)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Validated):
    """What of the machine is used, and who is told."""

    precision: str = option(
        "auto",
        "Number format; auto is mixed_float16 on a GPU, mixed_bfloat16 on a processor that multiplies it for networks of 16 "
        "filters or more, else float32.",
        PRECISIONS,
    )
    memory: float = option(1.0, "Volumes are held in memory up to so many GB; others are read crop by crop.", least=0)
    devices: int | None = option(None, "GPUs to train on [default: all].", least=1, most=_MOST_DEVICES)
    workers: int | None = option(
        None, "Threads that make samples [default: one per core].", least=1, most=_MOST_THREADS
    )
    track: str | None = option(
        None, "Tell an experiment tracker of settings, figures and pictures: MLflow, or Weights & Biases.", TRACKERS
    )


# A dataclass takes over the fields of its last base first: the options are listed from the data to the machine.
@dataclass(frozen=True, kw_only=True)
class FitSettings(MachineOptions, ScheduleOptions, AugmentationOptions, PatchOptions, NetworkOptions, DataOptions):
    """Settings of `fit`; the command line's options have these names, and `config.json` keeps them.

    None means: chosen by the data and the machine, and printed.
    """

    WHAT = "options of fit"

    def faults(self) -> Iterator[str]:
        if self.accumulate > 1 and self.augment_on == "device":
            yield "accumulate: expected 1 with `augment_on=device`, found more; leave one of the two out."
