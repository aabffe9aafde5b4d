"""What a prediction would compute, and how long it may take."""

import time
from collections.abc import Sequence
from math import prod

import numpy as np

from keras_unet3d.listener import Listener
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import Volume

_PROBE = 64  # voxels per axis of the tile that is timed


def say_plans(predictor: Predictor, volumes: Sequence[Volume], settings: PredictSettings, listener: Listener) -> None:
    """Say for every volume what would be computed, and how long it may take."""
    speed = _voxels_per_second(predictor, volumes[0].channels, settings) if volumes else 0.0
    for volume in volumes:
        tiling = predictor.tiling(volume.shape, settings)
        seconds = prod(tiling.tile) * tiling.count / speed
        room = predictor.memory.in_words(tiling.tile, min(settings.batch_size, tiling.count))
        listener.say(f"{volume.name}: {tiling.in_words()}; {room}, about {_time(seconds)}")


def _voxels_per_second(predictor: Predictor, channels: int, settings: PredictSettings) -> float:
    size = predictor.tile or tuple(predictor.spec.geometry.legal_at_least(_PROBE, axis) for axis in range(3))
    tile = np.random.default_rng(0).normal(size=(1, *size, channels)).astype(np.float32)
    network = predictor.seen(predictor.network, settings)
    network(tile)  # the first call compiles
    start = time.perf_counter()
    network(tile)
    return prod(size) / (time.perf_counter() - start)


def _time(seconds: float) -> str:
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds > 90 else f"{seconds:.0f} s"
