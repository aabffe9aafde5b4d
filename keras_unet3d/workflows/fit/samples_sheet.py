"""A sheet of augmented samples: what the network will see, before it is trained on it."""

from pathlib import Path

import numpy as np

from keras_unet3d.augment import ENGINES, native
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.samples import training_region
from keras_unet3d.pictures import slices
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.workflows.fit import plan
from keras_unet3d.workflows.fit.sources import Split

_ROWS = 5


def draw_sheet(split: Split, spec: ModelSpec, settings: FitSettings, path: Path) -> None:
    """Draw the first training samples, before and after augmentation, to `path`, a PNG."""
    changed = plan.patch_settings(spec, settings, augment=True)
    rows = []
    for index in range(_ROWS):
        drawn, image, classes, weight = training_region(split.training, changed, settings.seed, index)
        after, labels, _ = ENGINES[settings.engine](drawn, image, classes, weight)
        inner = tuple(slice(m, m + size) for m, size in zip(drawn.margin, settings.patch, strict=True))
        labels = np.where(labels == UNLABELLED, -1, labels.astype(int))
        source = native.source_positions(drawn, settings.patch)
        rows.append(slices.Change(image[inner][..., 0], after[..., 0], labels, source, spec.spacing))
    slices.changes(rows, path, spec.labels.names)
