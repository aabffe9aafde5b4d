"""From sources to samples `(x, y, w)`: pure functions of (seed, index), the same wherever they are called."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from keras_unet3d.augment import ENGINES, Arrays
from keras_unet3d.augment.draw import AugmentSettings, Draw, draw, generator
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple, triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.patches.source import (
    PerAxis,
    Source,
    draw_patch_start,
    draw_voxel,
    read_filled,
    read_mirrored,
    seeing_labels,
)
from keras_unet3d.volumes.grey_values import Normalization, normalized

# Times that a sample is drawn before it is taken as it is: a slice of one voxel can vanish when a map shrinks the image.
_ATTEMPTS = 8

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
# x, y, w of a sample and its random generator -> x, y, w.
Transform = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], Sample]
# Part of the seed of the transforms' own generator: it gives the same numbers, however many were drawn before.
_TRANSFORMS = 2**20


@dataclass(frozen=True)
class PatchSettings:
    """What a patch is.

    Attributes:
        patch, output: sizes (z, y, x) of the network's input and output.
        normalization: of the grey values.
        augment: how strongly training patches are changed; None for not at all.
        sampling: where they are taken, one of `choices.SAMPLINGS`.
        engine: what changes them, one of `choices.AUGMENTATION_ENGINES`.
        transforms: what a caller does to a training sample last, see `transformed`.
        anywhere: axes along which the labelled voxel that a patch is taken around lies anywhere in it.
    """

    patch: Triple
    output: Triple
    normalization: Normalization = "zscore"
    augment: AugmentSettings | None = None
    sampling: str = "classes"
    engine: str = "elasticdeform"
    transforms: tuple[Transform, ...] = ()
    anywhere: tuple[int, ...] = ()

    @property
    def inset(self) -> Triple:
        """Voxels (z, y, x) that the output lacks on each side of the input."""
        return triple((p - o) // 2 for p, o in zip(self.patch, self.output, strict=True))


def training_sample(sources: list[Source], settings: PatchSettings, seed: int, index: int) -> Sample:
    """Return sample number `index` of the endless training set of `seed`: the same wherever it is computed.

    Returns:
        x: `(z, y, x, channels)` float32, the patch.
        y: `(z', y', x')` int32, classes of the network's output region; 0 where unlabelled.
        w: `(z', y', x')` float32, sample weights; 0 where unlabelled.
    """
    sample = _training_sample(sources, settings, seed, index)[0]
    if not settings.transforms:
        return sample
    return transformed(sample, settings.transforms, generator(seed, index, _TRANSFORMS))


def transformed(sample: Sample, transforms: Sequence[Transform], rng: np.random.Generator) -> Sample:
    """Return a sample after what a caller does to it, one transform after the other.

    A transform takes x `(z, y, x, channels)` float32, y int32 and w float32 `(z', y', x')`, and the sample's random
    generator, and returns the three in the same shapes. By that generator a sample stays a function of seed and index.

    Raises:
        InputError: anything else came back.
    """
    for transform in transforms:
        changed, name = transform(*sample, rng), getattr(transform, "__name__", transform)
        shapes = [np.shape(array) for array in changed] if isinstance(changed, tuple | list) else changed
        expected = [array.shape for array in sample]
        if not isinstance(shapes, list) or shapes != expected:
            raise InputError(
                f"transforms: expected {name} to return x, y and w of shapes {', '.join(map(str, expected))}; found "
                f"{shapes if isinstance(shapes, list) else repr(changed)}."
            )
        sample = triple(np.asarray(new, old.dtype) for new, old in zip(changed, sample, strict=True))
        x, y, w = sample
        if not (np.isfinite(x).all() and np.isfinite(w).all() and (w >= 0).all() and (y[w > 0] >= 0).all()):
            raise InputError(
                f"transforms: expected finite x, classes y of 0 or more and finite weights w of 0 or more, found others after {name}."
            )
    return sample


def sample_origin(sources: list[Source], settings: PatchSettings, seed: int, index: int) -> tuple[str, Triple]:
    """Return the volume of sample number `index` and the first voxel (z, y, x) of its patch."""
    _, source, start = _training_sample(sources, settings, seed, index)
    return source.name, triple(int(first) for first in start)


def _training_sample(
    sources: list[Source], settings: PatchSettings, seed: int, index: int
) -> tuple[Sample, Source, np.ndarray]:
    """Return a sample before its transforms, the source that it is taken from, and the patch's first voxel."""
    for attempt in range(_ATTEMPTS):
        rng, source, start = _drawn_patch(sources, settings, seed, index, attempt)
        if settings.augment is None:
            break
        drawn, region = _drawn_region(source, settings, settings.augment, start, rng)
        sample = finished(*ENGINES[settings.engine](drawn, *region), settings)
        if sample[2].any():
            return sample, source, start
    return _plain(source, settings, start), source, start


def training_region(
    sources: list[Source], settings: PatchSettings, seed: int, index: int
) -> tuple[Draw, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return what an engine needs to make sample number `index`: the draw; image, classes and weights of its region.

    It is the first attempt of `training_sample`: labels that are one voxel thick may vanish.
    """
    assert settings.augment is not None, "a region is what an engine changes"
    rng, source, start = _drawn_patch(sources, settings, seed, index, 0)
    drawn, region = _drawn_region(source, settings, settings.augment, start, rng)
    return drawn, *region


def _drawn_patch(
    sources: list[Source], settings: PatchSettings, seed: int, index: int, attempt: int
) -> tuple[np.random.Generator, Source, np.ndarray]:
    """Return the generator of a sample, the source that it is taken from, and the patch's first voxel."""
    rng = generator(seed, index)
    source = sources[rng.integers(len(sources))]
    rng = generator(seed, index, attempt)
    voxel = draw_voxel(rng, source, settings.sampling)
    start = draw_patch_start(
        rng, voxel, settings.patch, settings.output, source.image.shape, settings.anywhere, source.sparse
    )
    return rng, source, start


def _drawn_region(
    source: Source, settings: PatchSettings, augment: AugmentSettings, start: np.ndarray, rng: np.random.Generator
) -> tuple[Draw, Arrays]:
    image = source.image
    drawn = draw(rng, augment, settings.patch, image.spacing, image.channels)
    margin = np.asarray(drawn.margin)
    return drawn, _read(source, start - margin, settings.patch + 2 * margin, settings.normalization)


def validation_positions(sources: list[Source], settings: PatchSettings, most: int) -> list[tuple[int, np.ndarray]]:
    """Return at most `most` (source, patch start) on a grid over all sources, those that see labels."""
    positions = []
    for number, source in enumerate(sources):
        sees_labels = seeing_labels(source)
        for start in _grid(source.image.shape, settings):
            if sees_labels(start + np.asarray(settings.inset), settings.output):
                positions.append((number, start))
    # Evenly spread, so that a limit does not leave out whole volumes.
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [positions[i] for i in chosen]


def _grid(shape: Triple, settings: PatchSettings) -> Iterator[np.ndarray]:
    """Yield patch starts whose outputs cover the volume, spread evenly; a small volume lies in the middle."""
    per_axis = []
    for extent, size in zip(shape, settings.output, strict=True):
        if extent <= size:
            per_axis.append([(extent - size) // 2])
        else:
            count = -(-extent // size)
            per_axis.append(np.linspace(0, extent - size, count).round().astype(int).tolist())
    for first in product(*per_axis):
        yield np.array(first) - settings.inset


def validation_sample(sources: list[Source], settings: PatchSettings, position: tuple[int, np.ndarray]) -> Sample:
    """Return the patch at one of `validation_positions`, not augmented."""
    number, start = position
    return _plain(sources[number], settings, start)


def _plain(source: Source, settings: PatchSettings, start: PerAxis) -> Sample:
    return finished(*_read(source, start, settings.patch, settings.normalization), settings)


def _read(source: Source, start: PerAxis, size: PerAxis, normalization: Normalization) -> Arrays:
    image = read_mirrored(normalized(source.image, source.statistics, normalization), start, size)
    classes = read_filled(source.classes, start, size, UNLABELLED)[..., 0]
    weight = None
    if source.weight is not None:
        weight = read_filled(source.weight, start, size, 0)[..., 0].astype(np.float32)
    return image, classes, weight


def finished(image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None, settings: PatchSettings) -> Sample:
    """Cut labels `(z, y, x)` to the network's output and turn "unlabelled" into weight 0."""
    centre = tuple(slice(i, i + o) for i, o in zip(settings.inset, settings.output, strict=True))
    classes = classes[centre]
    labelled = classes != UNLABELLED
    y = np.where(labelled, classes, 0).astype(np.int32)
    w = labelled.astype(np.float32)
    return image, y, w if weight is None else w * weight[centre]
