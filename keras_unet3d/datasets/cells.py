"""The second embedded data set: cells that touch on a background, made by code, with their full truth.

As in a stack of stained nuclei, labels are instances: a number per cell, 0 for the background. Only a handful of slices in the three
directions is annotated.
"""

from functools import cache

import numpy as np

from keras_unet3d.datasets.phantom import Phantom, annotated, seeded
from keras_unet3d.fields import validated

SHAPE = (40, 96, 96)
SPACING = (2.0, 1.0, 1.0)  # micrometres
UNLABELLED = 65535
_ANNOTATED = {0: (5, 13, 20, 27, 35), 1: (16, 48, 80), 2: (16, 48, 80)}
# Cells lie in clumps; half axes in micrometres.
_CLUMPS, _PER_CLUMP, _RADIUS = 10, 24, (6.5, 9.5)


@validated
@cache
def touching_cells(seed: int = 0) -> Phantom:
    """Return the cells of `seed`, uint16; the same arrays at every call and on every machine."""
    rng = seeded(seed)
    truth, depth = _cells(rng)
    image = _microscope(truth, depth, rng)
    return annotated(image, truth, _ANNOTATED, UNLABELLED, SPACING)


def _cells(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return cells as ellipsoids, where they would overlap cut half-way, and how deep in one a voxel is, 0 to 1."""
    from scipy.spatial.transform import Rotation

    size = np.multiply(SHAPE, SPACING)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    truth, nearest = np.zeros(SHAPE, np.uint16), np.ones(SHAPE)
    for number, centre in enumerate(_centres(rng, size), 1):
        radius = rng.uniform(*_RADIUS, 3)
        turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        out = np.sqrt(((((grid - centre) @ turn) / radius) ** 2).sum(axis=-1))
        truth[out < nearest] = number
        nearest = np.minimum(nearest, out)
    return truth, 1 - nearest


def _centres(rng: np.random.Generator, size: np.ndarray) -> list[np.ndarray]:
    """Return the centres of cells in clumps, in micrometres, none closer to another than cells are wide."""
    centres: list[np.ndarray] = []
    for clump in rng.uniform(0, 1, (_CLUMPS, 3)) * size:
        for centre in clump + rng.normal(0, 1.6 * _RADIUS[1], (_PER_CLUMP, 3)):
            apart = min((np.linalg.norm(centre - other) for other in centres), default=np.inf)
            if apart > 1.6 * _RADIUS[0] and (centre > 0).all() and (centre < size).all():
                centres.append(centre)
    return centres


def _microscope(truth: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a microscope would see: a stain of its own per cell, weaker at its rim; blur (more along z), shot noise."""
    from scipy.ndimage import gaussian_filter

    voxels = np.divide(1.0, SPACING)
    texture = gaussian_filter(rng.normal(size=SHAPE), 2 * voxels)
    stain = np.append(0.12, rng.uniform(0.5, 0.95, int(truth.max())))[truth]
    stain *= np.where(truth > 0, np.clip(0.45 + 4 * depth, 0, 1), 1)
    stain += 0.05 * texture / texture.std()
    light = gaussian_filter(rng.normal(size=SHAPE), 40 * voxels, mode="reflect")
    light = 1 + 0.25 * light / np.abs(light).max()
    blurred = gaussian_filter(stain * light, np.multiply(voxels, (1.5, 0.8, 0.8)))
    photons = rng.poisson(np.clip(blurred, 0, None) * 60) / 60
    return np.clip(255 * photons, 0, 255).astype(np.uint8)
