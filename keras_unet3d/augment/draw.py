"""The random parameters of one sample, drawn from (seed, index) and independent of the engine.

The spatial map is, for a voxel o of the patch, with c the patch's centre,

    source(o) = matrix @ (o - c) + c + displacement(o)

where `displacement` is a cubic B-spline through the control grid (Çiçek et al. 2016, section 3.1). The grid
spans the region: the patch and `margin` voxels around it, from which the source voxels come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import Spacing, Triple, triple

# Share of the channels whose gamma works on the negative.
_INVERTED = 0.25
# Where the finest edge of a volume's voxels differs from the common one by more than this factor, the factor is used.
_FURTHEST = 4
# Control points further apart deform nothing within a patch.
WIDEST_GRID = 128


@dataclass(frozen=True)
class AugmentSettings(Validated):
    """How strongly samples are changed; the grey-value changes go as far as nnU-Net's.

    Attributes:
        rotation: largest angle about each axis, degrees.
        scaling: smallest and largest factor.
        grid_spacing: distance of the control points, in `voxel`s.
        deformation: standard deviation of their displacements, in `voxel`s.
        voxel: the length, in the volumes' unit, that distances are given in; None: the finest edge of each volume's
            voxels. With it, volumes of different voxel size are deformed alike in physical space.
        contrast: smallest and largest factor around the mean.
        brightness: standard deviation of what is added, in standard deviations of the image.
        gamma: smallest and largest exponent on the grey values scaled to 0..1; for one sample in four to the negative.
        noise: largest standard deviation of the added noise, in standard deviations of the image.
        blur: smallest and largest standard deviation of a Gaussian, in `voxel`s.
        blur_share: share of the channels that are blurred.
        low_resolution: smallest and largest resolution, as a share of one value per `voxel`.
        low_resolution_share: share of the channels that are sampled down to it and up again.
        flips: axes (0 z, 1 y, 2 x) along which a sample may be mirrored.
        in_plane: whether samples are turned, scaled and deformed within the planes across z alone, as a stack of sections
            is: what lies between two of them nobody saw (nnU-Net does so, too: Isensee et al. 2021).
        by_section: whether contrast, brightness, gamma and noise change in every plane across z independently.
    """

    rotation: float = checked(15.0, least=0, most=180)
    # A smaller factor would ask for many times the patch of the volume.
    scaling: tuple[float, float] = checked((0.85, 1.2), least=0.1, most=10)
    grid_spacing: float = checked(32.0, least=2, most=WIDEST_GRID)
    deformation: float = checked(4.0, least=0)
    voxel: float | None = None
    contrast: tuple[float, float] = checked((0.75, 1.25), most=100)
    brightness: float = checked(0.15, least=0, most=100)
    gamma: tuple[float, float] = checked((0.75, 1.4), most=100)
    noise: float = checked(0.15, least=0, most=100)
    blur: tuple[float, float] = checked((0.5, 1.0), most=10)
    blur_share: float = checked(0.1, least=0, most=1)
    low_resolution: tuple[float, float] = checked((0.5, 1.0), most=1)
    low_resolution_share: float = checked(0.125, least=0, most=1)
    flips: tuple[int, ...] = ()
    in_plane: bool = False
    by_section: bool = False

    def faults(self) -> Iterator[str]:
        for name in ("scaling", "contrast", "gamma", "blur", "low_resolution"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                yield f"{name}: expected 0 < smallest <= largest, found {low} and {high}."
        if self.deformation > self.grid_spacing / 2:
            yield (
                f"deformation: expected at most half the grid_spacing, {self.grid_spacing / 2:g}, beyond which the volume "
                f"folds over itself; found {self.deformation}."
            )
        if self.voxel is not None and not self.voxel > 0:
            yield f"voxel: expected a length above 0, found {self.voxel}."
        if not set(self.flips) <= {0, 1, 2}:
            yield f"flips: expected axes 0 (z), 1 (y) or 2 (x), found {self.flips}."


@dataclass(frozen=True)
class GreyDraw:
    """What happens to the grey values of one sample; arrays have a value per channel, or per plane and channel.

    Planes, where it is said so, are all those of the patch across z, or one that stands for all.

    Attributes:
        blur: standard deviation of the Gaussian, voxels `(channels, 3)`; 0 for none.
        low_resolution: share of the voxels kept per axis, `(channels, 3)`; 1 for all.
        gamma: exponent, `(planes, channels)`; `inverted` where it works on the negative.
        contrast: factor around the mean, `(planes, channels)`.
        brightness: added, `(planes, channels)`.
        noise: standard deviation of what is added, `(planes, channels)`; a function of `noise_seed` and the voxel.
    """

    blur: np.ndarray
    low_resolution: np.ndarray
    gamma: np.ndarray
    inverted: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray
    noise: np.ndarray
    noise_seed: int


@dataclass(frozen=True)
class Draw:
    """What happens to one sample; image and labels follow the same map.

    Attributes:
        matrix: `(3, 3)`, from voxels of the patch to voxels of the source, about the patch's centre.
        displacement: `(3, gz, gy, gx)` control points over the region, voxels.
        margin: voxels (z, y, x) that the region has on each side of the patch.
        grey: what happens to the grey values.
    """

    matrix: np.ndarray
    displacement: np.ndarray
    margin: Triple
    grey: GreyDraw


def generator(seed: int, *position: int) -> np.random.Generator:
    """Return the generator of one sample: a pure function of its seed and position, without global state."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *position])))


def draw(
    rng: np.random.Generator,
    settings: AugmentSettings,
    patch: Triple,
    spacing: Spacing | None = None,
    channels: int = 1,
) -> Draw:
    """Draw the parameters of one sample.

    Args:
        rng: of this sample.
        settings: how strongly.
        patch: size (z, y, x).
        spacing: voxel size (z, y, x) in the unit of `settings.voxel`; rotation, scaling, displacement and blur are
            isotropic in it. None for cubes.
        channels: of the image; their grey values change independently.
    """
    edges = np.ones(3) if spacing is None else _in_voxels(np.asarray(spacing, float), settings.voxel)
    matrix = _matrix(rng, settings, edges)
    sigma = settings.deformation / edges
    if settings.in_plane:
        sigma[0] = 0
    half = (np.asarray(patch) - 1) / 2
    # Room for displacements of three standard deviations; beyond the region the image is mirrored and nothing labelled.
    margin = np.maximum(np.ceil(np.abs(matrix) @ half - half + 3 * sigma), 0).astype(int)
    points = np.maximum(np.round((np.asarray(patch) + 2 * margin - 1) * edges / settings.grid_spacing).astype(int), 1)
    displacement = rng.normal(size=(3, *(points + 1))) * sigma[:, None, None, None]
    return Draw(matrix, displacement, triple(margin.tolist()), _grey(rng, settings, edges, patch[0], channels))


def _in_voxels(spacing: np.ndarray, voxel: float | None) -> np.ndarray:
    """Return the edges of a volume's voxels in the length that the settings count in."""
    finest = spacing.min()
    # A voxel size that is wrong by orders of magnitude must not ask for regions of that size.
    return spacing / (finest if voxel is None else np.clip(voxel, finest / _FURTHEST, finest * _FURTHEST))


def _grey(
    rng: np.random.Generator, settings: AugmentSettings, edges: np.ndarray, planes: int, channels: int
) -> GreyDraw:
    blurred = rng.random(channels) < settings.blur_share
    blur = _log_uniform(rng, *settings.blur, channels) * blurred
    coarse = rng.random(channels) < settings.low_resolution_share
    kept = np.where(coarse, rng.uniform(*settings.low_resolution, channels), 1)
    each = (planes if settings.by_section else 1, channels)
    return GreyDraw(
        blur=blur[:, None] / edges,
        # An axis that is already as coarse keeps its voxels.
        low_resolution=np.where(coarse[:, None], np.minimum(kept[:, None] * edges, 1), 1),
        gamma=_log_uniform(rng, *settings.gamma, each),
        inverted=rng.random(each) < _INVERTED,
        contrast=_log_uniform(rng, *settings.contrast, each),
        brightness=rng.normal(size=each) * settings.brightness,
        noise=rng.uniform(0, settings.noise, each),
        noise_seed=int(rng.integers(2**62)),
    )


def _matrix(rng: np.random.Generator, settings: AugmentSettings, edges: np.ndarray) -> np.ndarray:
    """Return rotation and scaling in physical space, expressed in voxels, from the patch to the source."""
    physical, angles = np.eye(3), np.radians(rng.uniform(-settings.rotation, settings.rotation, 3))
    if settings.in_plane:
        angles[1:] = 0
    for axis, angle in enumerate(angles):
        # SciPy's Rotation gives the same matrices but for their last bits, which would change every sample.
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        physical = physical @ turn
    physical[:, 1 if settings.in_plane else 0 :] /= _log_uniform(rng, *settings.scaling)
    mirrored = [axis for axis in settings.flips if rng.random() < 0.5]
    physical[:, mirrored] *= -1
    return physical * edges[None, :] / edges[:, None]


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: Any = None) -> Any:
    """Return a number, or an array of `count` of them (a shape), whose logarithm is equally likely everywhere between the bounds."""
    return np.exp(rng.uniform(np.log(low), np.log(high), count))
