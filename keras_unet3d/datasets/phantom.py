"""The embedded data set: a synthetic microscopy stack of tubules, made by code, with its full truth.

As in the paper's kidney volumes the classes are the inside of a tubule, its wall and the background, and only
a handful of slices in the three directions is annotated.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import MOST_SEED, validated
from keras_unet3d.geometry import Spacing

NAMES = ("lumen", "wall", "background")
LUMEN, WALL, BACKGROUND, UNLABELLED = range(4)

SHAPE = (40, 96, 96)
SPACING = (2.0, 1.0, 1.0)  # micrometres
_ANNOTATED = {0: (8, 20, 31), 1: (24, 62), 2: (30, 74)}
_TUBULES = 7
_WALL_THICKNESS = 4.0


@dataclass(frozen=True)
class Phantom:
    """A stack and its labels, all `(z, y, x)`.

    Attributes:
        image: grey values, uint8.
        truth: the label of every voxel.
        sparse: the truth in the annotated slices, `UNLABELLED` elsewhere.
        spacing: voxel size (z, y, x) in micrometres.
    """

    image: np.ndarray
    truth: np.ndarray
    sparse: np.ndarray
    spacing: Spacing


@validated
@cache
def phantom(seed: int = 0) -> Phantom:
    """Return the phantom of `seed`; the same arrays at every call and on every machine."""
    rng = seeded(seed)
    truth = _tubules(rng)
    image = _microscope(truth, rng)
    return annotated(image, truth, _ANNOTATED, UNLABELLED, SPACING)


def annotated(
    image: np.ndarray, truth: np.ndarray, planes: dict[int, tuple[int, ...]], unlabelled: int, spacing: Spacing
) -> Phantom:
    """Return a stack whose truth is annotated in some planes per axis; its arrays cannot be written to."""
    sparse = np.full_like(truth, unlabelled)
    for axis, chosen in planes.items():
        slices = tuple(list(chosen) if other == axis else slice(None) for other in range(3))
        sparse[slices] = truth[slices]
    for array in (image, truth, sparse):
        array.setflags(write=False)
    return Phantom(image, truth, sparse, spacing)


def seeded(seed: int) -> np.random.Generator:
    """Return the random numbers of a seed; raises `InputError` where it is none."""
    if not 0 <= seed <= MOST_SEED:
        raise InputError(f"seed: expected a whole number from 0 to {MOST_SEED}, found {seed}.")
    return np.random.default_rng(seed)


def _tubules(rng: np.random.Generator) -> np.ndarray:
    """Return the classes of bent tubes of varying width, by how far a voxel is from the nearest centre line."""
    size = np.multiply(SHAPE, SPACING)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    outside = np.full(SHAPE, np.inf)
    for _ in range(_TUBULES):
        line = _centre_line(rng, size)
        radius = rng.uniform(9, 13)
        outside = np.minimum(outside, _distance(grid, line) - radius)
    return np.select([outside < -_WALL_THICKNESS, outside < 0], [LUMEN, WALL], BACKGROUND).astype(np.uint8)


def _centre_line(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """Return points (n, 3) of a smooth curve through the volume, in micrometres."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    bend = rng.normal(size=(2, 3)) * size * 0.16
    t = np.linspace(-1, 1, 60)[:, None]
    through = rng.uniform(0.1, 0.9, 3) * size
    return through + t * direction * 1.1 * size.max() + np.sin(2.2 * t) * bend[0] + np.cos(3.1 * t) * bend[1]


def _distance(grid: np.ndarray, line: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return cKDTree(line).query(grid.reshape(-1, 3))[0].reshape(SHAPE)


def _microscope(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a microscope would see: stain, uneven light, blur (more along z) and shot noise."""
    from scipy.ndimage import gaussian_filter

    voxels = np.divide(1.0, SPACING)
    texture = gaussian_filter(rng.normal(size=SHAPE), 3 * voxels)
    stain = np.choose(truth, [0.30, 0.75, 0.38]) + 0.06 * texture / texture.std()
    light = gaussian_filter(rng.normal(size=SHAPE), 40 * voxels, mode="reflect")
    light = 1 + 0.25 * light / np.abs(light).max()
    blurred = gaussian_filter(stain * light, np.multiply(voxels, (2.0, 1.0, 1.0)))
    photons = rng.poisson(np.clip(blurred, 0, None) * 60) / 60
    return np.clip(255 * photons, 0, 255).astype(np.uint8)
