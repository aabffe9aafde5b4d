"""From sources to batches `(x, y, w)`: one pure function per sample, one `tf.data` chain around it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from keras_unet3d.augment import ENGINES, change_grey_values
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.geometry import Triple
from keras_unet3d.intensity import normalize
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.sampling import Source, draw_patch_start, draw_voxel, read_filled, read_mirrored

# A one-voxel slice can vanish when a map shrinks the image: such a sample is drawn again, this often.
_ATTEMPTS = 8

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PatchSettings:
    """Sizes (z, y, x) of the network's input and output, normalisation, augmentation (None: none), centres, engine."""

    patch: Triple
    output: Triple
    normalization: str = "zscore"
    augment: AugmentSettings | None = None
    sampling: str = "classes"
    engine: str = "elasticdeform"


def training_sample(sources: list[Source], settings: PatchSettings, seed: int, index: int) -> Sample:
    """Return sample number `index` of the endless training set of `seed`: the same wherever it is computed.

    Returns:
        x: `(z, y, x, channels)` float32, the patch.
        y: `(z', y', x')` int32, classes of the network's output region; 0 where unlabelled.
        w: `(z', y', x')` float32, sample weights; 0 where unlabelled.
    """
    rng = generator(seed, index)
    source = sources[rng.integers(len(sources))]
    for attempt in range(_ATTEMPTS):
        rng = generator(seed, index, attempt)
        voxel = draw_voxel(rng, source, settings.sampling)
        start = draw_patch_start(rng, voxel, settings.patch, settings.output, source.image.shape)
        sample = _augmented(source, settings, start, rng) if settings.augment else _plain(source, settings, start)
        if sample[2].any():
            return sample
    return _plain(source, settings, start)


def validation_positions(sources: list[Source], settings: PatchSettings, most: int) -> list[tuple[int, np.ndarray]]:
    """Return at most `most` (source, patch start) on a grid over all sources, those that see labels."""
    positions = []
    for number, source in enumerate(sources):
        for start in _grid(source.image.shape, settings):
            inner = start + (np.asarray(settings.patch) - settings.output) // 2
            if (read_filled(source.classes, inner, settings.output, UNLABELLED) != UNLABELLED).any():
                positions.append((number, start))
    # Evenly spread, so that a limit does not leave out whole volumes.
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [positions[i] for i in chosen]


def _grid(shape, settings: PatchSettings):
    """Yield patch starts whose outputs cover the volume, spread evenly; a small volume lies in the middle."""
    per_axis = []
    for extent, size in zip(shape, settings.output, strict=True):
        if extent <= size:
            per_axis.append([(extent - size) // 2])
        else:
            count = -(-extent // size)
            per_axis.append(np.linspace(0, extent - size, count).round().astype(int).tolist())
    inset = (np.asarray(settings.patch) - settings.output) // 2
    for first in product(*per_axis):
        yield np.array(first) - inset


def validation_sample(sources: list[Source], settings: PatchSettings, position) -> Sample:
    """Return the patch at one of `validation_positions`, not augmented."""
    number, start = position
    return _plain(sources[number], settings, start)


def _plain(source: Source, settings: PatchSettings, start) -> Sample:
    image, classes, weight = _read(source, start, settings.patch, settings.normalization)
    return _finished(image, classes, weight, settings)


def _augmented(source: Source, settings: PatchSettings, start, rng) -> Sample:
    drawn = draw(rng, settings.augment, settings.patch, source.image.spacing)
    margin = np.asarray(drawn.margin)
    image, classes, weight = _read(source, start - margin, settings.patch + 2 * margin, settings.normalization)
    image, classes, weight = ENGINES[settings.engine](drawn, image, classes, weight)
    return _finished(change_grey_values(drawn, image), classes, weight, settings)


def _read(source: Source, start, size, normalization: str):
    image = normalize(read_mirrored(source.image, start, size), source.statistics, normalization)
    classes = read_filled(source.classes, start, size, UNLABELLED)[..., 0]
    weight = None
    if source.weight is not None:
        weight = read_filled(source.weight, start, size, 0)[..., 0].astype(np.float32)
    return image, classes, weight


def _finished(image, classes, weight, settings: PatchSettings) -> Sample:
    """Cut labels to the network's output and turn "unlabelled" into weight 0."""
    inset = [(p - o) // 2 for p, o in zip(settings.patch, settings.output, strict=True)]
    centre = tuple(slice(i, i + o) for i, o in zip(inset, settings.output, strict=True))
    classes = classes[centre]
    labelled = classes != UNLABELLED
    y = np.where(labelled, classes, 0).astype(np.int32)
    w = labelled.astype(np.float32)
    return image, y, w if weight is None else w * weight[centre]


# ---- tf.data -------------------------------------------------------------------------------------


def training_dataset(sources: list[Source], settings: PatchSettings, batch_size: int, seed: int, workers: int):
    """Return an endless `tf.data.Dataset` of batches `(x, y, w)`, in the same order for any `workers`."""
    import tensorflow as tf

    indices = tf.data.Dataset.counter()
    sample = lambda index: training_sample(sources, settings, seed, int(index))  # noqa: E731
    return _chain(indices, sample, sources, settings, batch_size, workers)


def validation_dataset(sources: list[Source], settings: PatchSettings, batch_size: int, positions, workers: int):
    """Return the finite `tf.data.Dataset` of the patches at `positions`, cached in memory."""
    import tensorflow as tf

    indices = tf.data.Dataset.range(len(positions))
    sample = lambda index: validation_sample(sources, settings, positions[int(index)])  # noqa: E731
    return _chain(indices, sample, sources, settings, batch_size, workers).cache()


def _chain(indices, sample: Callable, sources, settings: PatchSettings, batch_size: int, workers: int):
    import tensorflow as tf

    shapes = ((*settings.patch, sources[0].image.channels), settings.output, settings.output)

    def load(index):
        # numpy_function loses the shapes; without them Keras could not check the weights against the labels.
        arrays = tf.numpy_function(sample, [index], (tf.float32, tf.int32, tf.float32), stateful=False)
        return tuple(tf.ensure_shape(array, shape) for array, shape in zip(arrays, shapes, strict=True))

    return indices.map(load, num_parallel_calls=workers, deterministic=True).batch(batch_size).prefetch(2)
