"""Volumes of another voxel size than the network was trained at: told, and resampled where that is asked for."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import refuse_full
from keras_unet3d.geometry import Spacing, triple
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.prediction.predictor import PlainFunction
from keras_unet3d.volumes import SPACING_TOLERANCE, Volume, micrometres, resampled
from keras_unet3d.words import by

Meaning = ModelSpec | PlainFunction


def at_training_size(volume: Volume, spec: Meaning, resample: bool) -> Volume:
    """Return the volume at the voxel size that the network is to see: its own, or that of the training.

    Raises:
        InputError: a voxel size that is not known.
    """
    if not resample:
        return volume
    if volume.spacing is None or spec.spacing is None:
        whose = volume.name if volume.spacing is None else "the network's training"
        raise InputError(f"{whose}: expected a voxel size to resample by, found none; leave out `resample`.")
    ratio = _ratio(volume, spec, volume.spacing, spec.spacing)
    shape = triple(max(1, round(size * factor)) for size, factor in zip(volume.shape, ratio, strict=True))
    return volume if shape == volume.shape else resampled(volume, shape)


def refuse_too_fine(volume: Volume, working: Volume, spec: Meaning, folder: Path) -> None:
    """Raise `InputError` where the disk of a folder has no room for the probabilities of a volume at the training's voxel size."""
    classes = spec.labels.num_classes if spec.labels else 1
    refuse_full(
        folder,
        4 * classes * prod(working.shape),
        f"to hold the probabilities of {by(working.shape)} voxels",
        f"correct the voxel size of {volume.name}, {by(volume.spacing or (), '.3g')} {volume.unit or ''}, or leave out `resample`",
    )


def other_size_in_words(volume: Volume, spec: Meaning, resample: bool) -> Iterator[str]:
    """Yield a line where the voxel size of a volume is not that of the training."""
    if not volume.spacing or not spec.spacing:
        return
    ratio = _ratio(volume, spec, volume.spacing, spec.spacing)
    if (np.maximum(ratio, 1 / ratio) > SPACING_TOLERANCE).any():
        here, training = _size(volume.spacing, volume.unit), _size(spec.spacing, spec.unit)
        what = "resampled, and back" if resample else "expect a worse result, or add `resample=True`"
        yield f"{volume.name}: voxel size {here} differs from the training's {training}; {what}"


def _ratio(volume: Volume, spec: Meaning, here: Spacing, training: Spacing) -> np.ndarray:
    """Return how many times the training's voxel size that of the volume is, along each axis."""
    known = volume.micrometres, micrometres(spec.spacing, spec.unit)
    # Units that nobody knows are taken to be the same.
    if known[0] is None or known[1] is None:
        return np.divide(here, training)
    return np.divide(known[0], known[1])


def _size(spacing: Spacing, unit: str | None) -> str:
    return by(spacing, ".3g") + (f" {unit}" if unit else "")
