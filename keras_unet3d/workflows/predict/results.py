"""What is wanted of a volume, box by box: predicted, brought back to its own voxel size, and cleaned.

What looks at more than a tile is kept on disk in between, so that memory does not grow with the volume.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import narrowed
from keras_unet3d.geometry import Box
from keras_unet3d.listener import Listener
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.segments.cleaning import Cleaning, cleaned
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import Volume, kept, nearest, resampled
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.workflows.predict.instances import predicted_instances
from keras_unet3d.workflows.predict.voxel_size import at_training_size

AS_THEY_ARE, INSTANCES = CleanSettings(), CleanSettings(instances=True)
# A box of a volume, and its voxels.
Values = tuple[Box, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """What is to come out of every volume; see `predict`."""

    output: str
    settings: PredictSettings
    cleaning: CleanSettings
    resample: bool

    def __post_init__(self):
        if self.cleaning != AS_THEY_ARE and self.output != "labels":
            raise InputError(f"output: expected labels where they are to be cleaned, found {self.output!r}.")
        if self.resample and self.output == "logits":
            raise InputError("resample: expected labels, probabilities or uncertainty, found logits.")


def results(
    predictor: Predictor, volume: Volume, statistics: Statistics, wanted: Wanted, beside: Path, listener: Listener
) -> Iterator[Values]:
    """Yield boxes of the volume with what is wanted of them; what is too large for memory is kept on the disk of `beside`.

    `statistics` are those of the volume's grey values.
    """
    working = at_training_size(volume, predictor.spec, wanted.resample)
    statistics = statistics if working is volume else predictor.examine(working)
    options: dict[str, Any] = {"statistics": statistics, "listener": listener}
    if wanted.cleaning.instances:
        boxes = predicted_instances(predictor, working, wanted.settings, beside, **options)
    elif working is volume:
        boxes = predictor.boxes(volume, wanted.output, wanted.settings, **options)
    else:
        boxes = predictor.uncalibrated.boxes(working, "probabilities", wanted.settings, **options)
    if working is not volume:
        boxes = _brought_back(boxes, predictor, working, volume, wanted, beside)
    if cleanings := _cleanings(predictor, wanted):
        # Instances are cut out of everything; there, 0 is what was removed.
        background = 0 if wanted.cleaning.instances else predictor.background()
        boxes = _cleaned(boxes, volume, cleanings, background, beside)
    yield from boxes


def _brought_back(
    boxes: Iterator[Values], predictor: Predictor, working: Volume, volume: Volume, wanted: Wanted, beside: Path
) -> Iterator[Values]:
    """Yield boxes of the volume of what was predicted at another voxel size."""
    with kept(boxes, working, beside) as (predicted, _):
        # Instances are cut at the voxel size that their settings were found at.
        back = (nearest if wanted.cleaning.instances else resampled)(predicted, volume.shape)
        for box in back.boxes():
            values = back.read(box)
            yield box, values[..., 0] if wanted.cleaning.instances else predictor.convert(values, wanted.output)


def _cleaned(
    boxes: Iterator[Values], volume: Volume, cleanings: Sequence[Cleaning], background: int, beside: Path
) -> Iterator[Values]:
    """Yield boxes of labels that are cleaned as a whole."""
    with kept(boxes, volume, beside) as (labels, write):
        for box, values in cleaned(volume.shape, lambda box: labels.read(box)[..., 0], cleanings, background):
            write(box, values)
        # They come in thin slabs, which would be put into every chunk of a file many times.
        for box in labels.boxes():
            yield box, labels.read(box)[..., 0]


def _cleanings(predictor: Predictor, wanted: Wanted) -> tuple[Cleaning, ...]:
    """Return what was found after the training to help labels, and what is asked for."""
    asked = narrowed(Cleaning, wanted.cleaning)
    return (*predictor.cleaning(wanted.output, wanted.settings), *([asked] if asked != Cleaning() else []))
