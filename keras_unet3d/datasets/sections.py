"""A stack of serial sections as an electron microscope shows it, made by code, with its full truth.

What makes such stacks hard is in it: sections of differing contrast, the last one by far; small shifts between them; one
that is damaged; a rare class, mitochondria, beside dark things that are none; and only a few sections labelled.
"""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.datasets.phantom import Phantom
from keras_unet3d.geometry import Spacing, Triple

SPACING: Spacing = (0.05, 0.0046, 0.0046)  # micrometres
MITOCHONDRION, UNLABELLED = 1, 2
# Every fifth section is labelled, from this one on.
FIRST, EVERY = 2, 5
# Voxels of a section per cell, per mitochondrion and per dark thing that is none.
_PER_CELL, _PER_MITOCHONDRION, _PER_VESICLE, _PER_DROPLET = 3600, 21000, 6000, 60000
# Grey values.
_CYTOPLASM, _MEMBRANE, _MATRIX, _VESICLE, _DROPLET = 165.0, 75.0, 122.0, 70.0, 100.0

# Smallest and largest value.
_Range = tuple[float, float]


@dataclass(frozen=True)
class _Bodies:
    """Ellipsoids that run through the sections; arrays with a value per body.

    Attributes:
        centre: `(bodies, 3)`, section and voxels.
        drift: voxels (y, x) by which they move per section, `(bodies, 2)`.
        radius: half axes in the plane, voxels, `(bodies, 2)`.
        half: sections from the middle to either end.
        angle: of the first half axis.
    """

    centre: np.ndarray
    drift: np.ndarray
    radius: np.ndarray
    half: np.ndarray
    angle: np.ndarray


@dataclass(frozen=True)
class _Cells:
    """Cells, a voxel belongs to the nearest: points `(cells, 2)`, and their drift per section."""

    points: np.ndarray
    drift: np.ndarray


def serial_sections(seed: int = 0, shape: Triple = (20, 384, 384)) -> Phantom:
    """Return a stack of sections of `seed`, 50 x 4.6 x 4.6 nm; classes 0 and 1, the mitochondria, 5 to 8 % of the voxels."""
    rng = np.random.default_rng(seed)
    truth, stain = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    cells, shifts = _cells(rng, shape), rng.integers(-2, 3, (shape[0], 2))
    bodies = {
        "mitochondria": _bodies(rng, shape, _PER_MITOCHONDRION / 2.5, (15, 34), (2.0, 6.0)),
        "vesicles": _bodies(rng, shape, _PER_VESICLE, (4, 8), (0.6, 1.0)),
        "droplets": _bodies(rng, shape, _PER_DROPLET / 2, (9, 16), (1.0, 2.5)),
    }
    tints = rng.normal(0, 10, len(cells.points))
    for z in range(shape[0]):
        warp = [6 * _noise(rng, shape[1:], 14) for _ in range(2)]
        y, x = np.indices(shape[1:]) + shifts[z][:, None, None] + np.stack(warp)
        truth[z], stain[z] = _section(z, y, x, cells, tints, bodies, rng)
    image = np.stack([_imaged(z, section, shape[0], rng) for z, section in enumerate(stain)])
    sparse = np.full_like(truth, UNLABELLED)
    sparse[FIRST::EVERY] = truth[FIRST::EVERY]
    return Phantom(image, truth, sparse, SPACING)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> np.ndarray:
    """Return smooth noise of deviation 1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    return noise / max(noise.std(), 1e-12)


def _cells(rng: np.random.Generator, shape: Triple) -> _Cells:
    """Return cells that lie a little beyond the volume as well."""
    area = np.multiply(shape[1:], 1.4)
    count = int(np.prod(area) / _PER_CELL)
    points = rng.uniform(0, 1, (count, 2)) * area - 0.2 * np.array(shape[1:])
    return _Cells(points, rng.normal(0, 2.5, (count, 2)))


def _bodies(rng: np.random.Generator, shape: Triple, per: float, radius: _Range, half: _Range) -> _Bodies:
    """Return bodies, one per so many voxels of a section, of half axes and half lengths in these ranges."""
    count = max(int(np.prod(shape[1:]) / per * shape[0] / (2 * np.mean(half)) / 1.5), 1)
    centre = rng.uniform(0, 1, (count, 3)) * shape
    first = rng.uniform(*radius, count)
    axes = np.stack([first, first * rng.uniform(0.55, 1.0, count)], axis=1)
    return _Bodies(centre, rng.normal(0, 3, (count, 2)), axes, rng.uniform(*half, count), rng.uniform(0, np.pi, count))


def _inside(bodies: _Bodies, z: int, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how deep in a body every voxel of a section is, in voxels (negative outside), and in which body."""
    depth, which = np.full(y.shape, -np.inf), np.zeros(y.shape, int)
    away = z - bodies.centre[:, 0]
    for i in np.flatnonzero(np.abs(away) < bodies.half):
        grown = bodies.radius[i] * (1 - (away[i] / bodies.half[i]) ** 2) ** 0.35
        dy, dx = (
            line - bodies.centre[i, axis + 1] - away[i] * bodies.drift[i, axis] for axis, line in enumerate((y, x))
        )
        cos, sin = np.cos(bodies.angle[i]), np.sin(bodies.angle[i])
        out = np.sqrt(((cos * dy + sin * dx) / grown[0]) ** 2 + ((cos * dx - sin * dy) / grown[1]) ** 2)
        here = (1 - out) * grown.min()
        which[here > depth] = i
        depth = np.maximum(depth, here)
    return depth, which


def _section(
    z: int,
    y: np.ndarray,
    x: np.ndarray,
    cells: _Cells,
    tints: np.ndarray,
    bodies: dict[str, _Bodies],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes and the stain of a section whose voxels are cut at `y` and `x`."""
    from scipy.spatial import cKDTree

    points = cells.points + z * cells.drift
    near, cell = cKDTree(points).query(np.stack([y, x], axis=-1), k=2)
    stain = _CYTOPLASM + tints[cell[..., 0]] + 9 * _noise(rng, y.shape, 2.5)
    # Dark membranes between cells, blurred where they are cut at a slant.
    wall = np.clip(1.4 - (near[..., 1] - near[..., 0]) / 5, 0, 1)
    stain += wall * (_MEMBRANE - stain)
    droplet, _ = _inside(bodies["droplets"], z, y, x)
    stain = np.where(droplet > 0, _DROPLET, stain)
    vesicle, _ = _inside(bodies["vesicles"], z, y, x)
    # A dark core in a light halo.
    stain = np.where(vesicle > 0, np.where(vesicle > 1.5, _VESICLE, _CYTOPLASM + 20), stain)
    depth, which = _inside(bodies["mitochondria"], z, y, x)
    angle = bodies["mitochondria"].angle[which] + 0.5
    phase = (np.cos(angle) * y + np.sin(angle) * x) / 1.9 + 1.2 * _noise(rng, y.shape, 5)
    matrix = _MATRIX + 18 * np.sin(phase) + np.sin(37.0 * which) * 10 + 5 * _noise(rng, y.shape, 1.5)
    stain = np.where(depth > 0, np.where(depth > 2.5, matrix, _MEMBRANE), stain)
    return (depth > 0).astype(np.uint8), stain


def _imaged(z: int, stain: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return what the microscope makes of a section: focus, light, contrast of its own; damage in the middle one."""
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(stain, rng.uniform(0.6, 1.2)) + rng.normal(0, 9, stain.shape)
    gain, offset = np.exp(rng.normal(0, 0.12)), rng.normal(0, 10)
    if z == count - 1:
        gain, offset = 0.5, 18.0
    if z == count // 2 + 1:
        line = np.indices(stain.shape).sum(axis=0) - sum(stain.shape) / 2
        image[np.abs(line + 12 * _noise(rng, stain.shape, 30)) < 9] = 30.0
        y, x = np.indices(stain.shape) - np.multiply(stain.shape, 0.3).reshape(2, 1, 1)
        image += 90 * np.exp(-(y**2 + x**2) / (2 * (0.1 * len(stain)) ** 2))
    light = 6 * _noise(rng, stain.shape, len(stain) * 80 / 384)
    return np.clip(gain * (image - 130) + 130 * min(gain, 1) + offset + light, 0, 255).astype(np.uint8)
