"""The random parameters of one sample, drawn from (seed, index) and independent of the engine.

The spatial map is, for a voxel o of the patch, with c the patch's centre,

    source(o) = matrix @ (o - c) + c + displacement(o)

where `displacement` is a cubic B-spline through the control grid (Çiçek et al. 2016, section 3.1). The grid
spans the region: the patch and `margin` voxels around it, from which the source voxels come.
"""

from dataclasses import dataclass

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly samples are changed.

    Attributes:
        rotation: largest angle about each axis, degrees.
        scaling: smallest and largest factor.
        grid_spacing: distance of the control points, in voxels of the finest axis.
        deformation: standard deviation of their displacements, in voxels of the finest axis.
        contrast: smallest and largest factor around the mean.
        brightness: standard deviation of what is added, in standard deviations of the image.
        gamma: smallest and largest exponent on the grey values scaled to 0..1.
        noise: largest standard deviation of the added noise, in standard deviations of the image.
        flips: axes (0 z, 1 y, 2 x) along which a sample may be mirrored.
    """

    rotation: float = 15.0
    scaling: tuple[float, float] = (0.85, 1.2)
    grid_spacing: float = 32.0
    deformation: float = 4.0
    contrast: tuple[float, float] = (0.75, 1.25)
    brightness: float = 0.15
    gamma: tuple[float, float] = (0.75, 1.4)
    noise: float = 0.15
    flips: tuple[int, ...] = ()

    def __post_init__(self):
        for field in ("scaling", "contrast", "gamma"):
            low, high = getattr(self, field)
            if not 0 < low <= high:
                raise InputError(f"{field}: expected 0 < smallest <= largest, found {low} and {high}.")
        for field in ("rotation", "deformation", "brightness", "noise"):
            if not getattr(self, field) >= 0:
                raise InputError(f"{field}: expected 0 or more, found {getattr(self, field)}.")
        if not self.grid_spacing >= 2:
            raise InputError(f"grid_spacing: expected 2 voxels or more, found {self.grid_spacing}.")
        if not set(self.flips) <= {0, 1, 2}:
            raise InputError(f"flips: expected axes 0 (z), 1 (y) or 2 (x), found {self.flips}.")


@dataclass(frozen=True)
class Draw:
    """What happens to one sample; both image and labels follow the same map.

    Attributes:
        matrix: `(3, 3)`, from voxels of the patch to voxels of the source, about the patch's centre.
        displacement: `(3, gz, gy, gx)` control points over the region, voxels.
        margin: voxels (z, y, x) that the region has on each side of the patch.
        contrast, brightness, gamma: see `AugmentSettings`.
        noise: standard deviation of the noise, drawn from `noise_seed`.
    """

    matrix: np.ndarray
    displacement: np.ndarray
    margin: Triple
    contrast: float
    brightness: float
    gamma: float
    noise: float
    noise_seed: int


def generator(seed: int, *position: int) -> np.random.Generator:
    """Return the generator of one sample: a pure function of its seed and position, without global state."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *position])))


def draw(rng: np.random.Generator, settings: AugmentSettings, patch: Triple, spacing: Triple | None) -> Draw:
    """Draw the parameters of one sample.

    Args:
        rng: of this sample.
        settings: how strongly.
        patch: size (z, y, x).
        spacing: voxel size (z, y, x), any unit; rotation, scaling and displacement are isotropic in it.
    """
    spacing = np.ones(3) if spacing is None else np.asarray(spacing, float) / min(spacing)
    matrix = _matrix(rng, settings, spacing)
    sigma = settings.deformation / spacing
    half = (np.asarray(patch) - 1) / 2
    # Three standard deviations: what lies beyond is mirrored (image) or unlabelled.
    margin = np.maximum(np.ceil(np.abs(matrix) @ half - half + 3 * sigma), 0).astype(int)
    points = np.maximum(np.round((np.asarray(patch) + 2 * margin - 1) * spacing / settings.grid_spacing).astype(int), 1)
    displacement = rng.normal(size=(3, *(points + 1))) * sigma[:, None, None, None]
    return Draw(
        matrix,
        displacement,
        tuple(margin.tolist()),
        contrast=_log_uniform(rng, *settings.contrast),
        brightness=rng.normal() * settings.brightness,
        gamma=_log_uniform(rng, *settings.gamma),
        noise=rng.uniform(0, settings.noise),
        noise_seed=int(rng.integers(2**63)),
    )


def _matrix(rng, settings: AugmentSettings, spacing) -> np.ndarray:
    """Rotation and scaling in physical space, expressed in voxels, from the patch to the source."""
    physical = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-settings.rotation, settings.rotation, 3))):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        physical = physical @ turn
    physical /= _log_uniform(rng, *settings.scaling)
    mirrored = [axis for axis in settings.flips if rng.random() < 0.5]
    physical[:, mirrored] *= -1
    return physical * spacing[None, :] / spacing[:, None]


def _log_uniform(rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
