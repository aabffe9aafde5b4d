"""What the experiments on sparse annotation share: a dense volume, some of its slices, a network, a figure."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d import DataOptions, FitSettings, LabelledData, open_data
from keras_unet3d.datasets import SAMPLE, Example, phantom
from keras_unet3d.evaluation.overlap import count, figures, means
from keras_unet3d.labels import UNLABELLED, LabelTable, class_volume
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import build
from keras_unet3d.patches.holdout import hold_out
from keras_unet3d.patches.samples import validation_positions, validation_sample
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.loop import train
from keras_unet3d.training.schedule import Shown
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.volumes.grey_values import measure
from keras_unet3d.workflows.fit.feed import make_feed
from keras_unet3d.workflows.fit.plan import make_plan

TARGETS = ("semantic", "boundaries", "cells")
_CELLS = LabelTable((0, 1, 2), ("background", "interior", "boundary"))


@dataclass(frozen=True)
class Dense:
    """A volume of which everything is known: image, classes `(z, y, x)`, and the classes' names."""

    image: Volume
    classes: np.ndarray
    table: LabelTable


def load(data: str, target: str = "semantic", volume: str | None = None) -> Dense:
    """Return one volume of DATA; "cells" makes background, interior and boundary of instance labels."""
    if data == SAMPLE:
        stack = phantom.phantom()
        table = LabelTable((0, 1, 2), phantom.NAMES)
        return Dense(from_array(stack.image, SAMPLE, stack.spacing, "um"), stack.truth, table)
    opened = open_data(data, options=DataOptions(target="semantic" if target == "semantic" else "boundaries"))
    example = next(example for example in opened.examples if volume is None or volume in example.name)
    classes = class_volume(example.label, opened.table).array()[..., 0]
    if target == "cells":
        inside = example.label.array()[..., 0] > 0
        return Dense(example.image, np.where(classes == 1, 2, inside).astype(np.uint8), _CELLS)
    return Dense(example.image, classes, replace(opened.table, target="semantic"))


def evenly(shape, per_direction: int) -> list[tuple[int, int]]:
    """Return (axis, plane) of as many slices across each axis, evenly spread."""
    return [
        (axis, int(size * (i + 0.5) / per_direction)) for axis, size in enumerate(shape) for i in range(per_direction)
    ]


def keep(classes: np.ndarray, slices: list[tuple[int, int]]) -> np.ndarray:
    """Return the classes with everything unlabelled but the given slices."""
    kept = np.full_like(classes, UNLABELLED)
    for axis, plane in slices:
        at = (slice(None),) * axis + (plane,)
        kept[at] = classes[at]
    return kept


@dataclass(frozen=True)
class Variant:
    """What one experiment differs in: 3D or 2D kernels, normalisation, seed, number of steps."""

    dimensions: int = 3
    normalization: str = "batch"
    seed: int = 0
    steps: int = 250


def learn(dense: Dense, classes: np.ndarray, variant: Variant) -> Predictor:
    """Train on the labelled voxels of `classes` alone, nothing held out, and return the last network's predictor."""
    settings = FitSettings(
        normalization=variant.normalization,
        seed=variant.seed,
        epochs=1,
        steps_per_epoch=variant.steps,
        # "auto" would measure: the experiments are to be the same everywhere.
        engine="native",
    )
    sparse = from_array(classes, "sparse labels", dense.image.spacing)
    data = LabelledData((Example("sparse", dense.image, sparse),), (), dense.table, DataOptions())
    plan = make_plan(data, settings)
    if variant.dimensions == 2:
        plan = replace(plan, spec=replace(plan.spec, architecture=flat(plan.spec.architecture)))
    index = index_labels(sparse, dense.table.num_classes)
    source = Source("sparse", dense.image, sparse, None, measure(dense.image), index)
    holdout = hold_out([source], [], share=0, seed=variant.seed)
    model = build(plan.spec.architecture)
    position = validation_positions(holdout.validation, plan.unchanged_patches, 1)[0]
    sample = validation_sample(holdout.validation, plan.unchanged_patches, position)
    shown = Shown(sample, dense.table, plan.spec.spacing)
    with tempfile.TemporaryDirectory() as run:
        train(model, make_feed(holdout, plan), plan.schedule, RunFolder(Path(run)), shown=shown)
    return trained_predictor(model, plan.spec)


def flat(architecture: Architecture) -> Architecture:
    """Return the same network with kernels and pooling of one voxel along z."""
    depth = architecture.depth
    return replace(architecture, kernel_sizes=((1, 3, 3),) * depth, pool_sizes=((1, 2, 2),) * (depth - 1))


def score(dense: Dense, predicted: np.ndarray, where: np.ndarray) -> dict:
    """Return IoU by class, and their mean without the background, over the voxels `where`."""
    truth = np.where(where, dense.classes, UNLABELLED)
    by_class = figures(count(truth, predicted, dense.table.num_classes), dense.table.names)
    names = dense.table.names
    background = next((name for name in names if name in ("background", "interior") and len(names) == 2), "background")
    return {name: figure and figure["iou"] for name, figure in by_class.items()} | {
        "mean": means(by_class, background)["mean_iou"]
    }
