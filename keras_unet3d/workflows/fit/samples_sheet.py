"""A sheet of augmented samples: what the network will see, before it is trained on it."""

from pathlib import Path

import numpy as np

from keras_unet3d.augment import ENGINES, native
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.patches.samples import training_region
from keras_unet3d.patches.source import Source
from keras_unet3d.pictures.slices import Change, draw_changes
from keras_unet3d.workflows.fit.plan import Plan

_ROWS = 5


def draw_sheet(sources: list[Source], plan: Plan, path: Path) -> None:
    """Draw the first training samples, before and after augmentation, to `path`, a PNG."""
    spec, patches = plan.spec, plan.patches
    rows = []
    for index in range(_ROWS):
        drawn, image, classes, weight = training_region(sources, patches, plan.batching.seed, index)
        after, labels, _ = ENGINES[patches.engine](drawn, image, classes, weight)
        inner = tuple(slice(m, m + size) for m, size in zip(drawn.margin, patches.patch, strict=True))
        labels = np.where(labels == UNLABELLED, -1, labels.astype(int))
        source = native.source_positions(drawn, patches.patch)
        rows.append(Change(image[inner][..., 0], after[..., 0], labels, source, spec.spacing))
    draw_changes(rows, path, spec.labels.names)
