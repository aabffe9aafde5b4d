"""Draws, and both engines against a slow SciPy oracle and against each other."""

import builtins

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from keras_unet3d.augment import ENGINES, change_grey_values, elastic, native
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED

PATCH = (12, 18, 20)


def a_draw(index=0, spacing=(2.0, 1.0, 1.0), patch=PATCH, **changes):
    settings = AugmentSettings(**{"grid_spacing": 12, "deformation": 1.5} | changes)
    return draw(generator(7, index), settings, patch, spacing)


def region(drawn, patch=PATCH):
    return tuple(p + 2 * m for p, m in zip(patch, drawn.margin, strict=True))


def source_positions(drawn, patch=PATCH):
    """Where every voxel of the patch comes from, in voxels of the region: the formula of draw.py, slowly."""
    patch, margin = np.array(patch), np.array(drawn.margin)
    centre = (patch - 1) / 2
    o = np.stack(np.meshgrid(*map(np.arange, patch), indexing="ij")).astype(float)
    moved = (
        np.einsum("ij,jzyx->izyx", drawn.matrix, o - centre[:, None, None, None])
        + (centre + margin)[:, None, None, None]
    )
    extent = np.array(region(drawn)) - 1
    points = np.array(drawn.displacement.shape[1:]) - 1
    in_grid = (o + margin[:, None, None, None]) * (points / extent)[:, None, None, None]
    return moved + np.stack([map_coordinates(d, in_grid, order=3, mode="mirror") for d in drawn.displacement])


ENGINE = pytest.mark.parametrize("engine, order", [("elasticdeform", 3), ("native", 1)])


@ENGINE
@pytest.mark.parametrize("index", range(4))
def test_engine_against_scipy(engine, order, index):
    drawn = a_draw(index)
    rng = np.random.default_rng(index)
    image = rng.normal(size=(*region(drawn), 2)).astype(np.float32)
    classes = rng.integers(0, 3, region(drawn)).astype(np.uint8)
    weight = rng.uniform(size=region(drawn)).astype(np.float32)
    moved, labels, weights = ENGINES[engine](drawn, image, classes, weight)
    assert (moved.dtype, labels.dtype, weights.dtype) == (np.float32, np.uint8, np.float32)
    positions = source_positions(drawn)
    for channel in range(2):
        expected = map_coordinates(image[..., channel], positions, order=order, mode="mirror")
        np.testing.assert_allclose(moved[..., channel], expected, atol=2e-4)
    # At a half the nearest voxel is either one: leave those out.
    clear = (abs(positions - np.floor(positions) - 0.5) > 1e-3).all(axis=0)
    inside = all_inside(positions, region(drawn))
    for found, volume, fill in ((labels, classes, UNLABELLED), (weights, weight, 0)):
        expected = map_coordinates(volume, positions, order=0, mode="nearest")
        np.testing.assert_array_equal(found[clear & inside], expected[clear & inside])
        np.testing.assert_array_equal(found[outside_by(positions, region(drawn), 0.6)], fill)


@pytest.mark.parametrize("index", range(4))
def test_engines_agree(index, monkeypatch):
    drawn = a_draw(index, patch=(24, 40, 40))
    rng = np.random.default_rng(index)
    image = gaussian_filter(rng.normal(size=(*region(drawn, (24, 40, 40)), 1)), 2).astype(np.float32)
    classes = np.digitize(image[..., 0], [0, 0.05]).astype(np.uint8)
    weight = rng.uniform(size=classes.shape).astype(np.float32)
    found = native.warp(drawn, image, classes, weight)
    monkeypatch.setattr(elastic, "IMAGE_ORDER", 1)
    expected = elastic.warp(drawn, image, classes, weight)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    assert (found[1] == expected[1]).mean() > 0.999
    assert (found[2] == expected[2]).mean() > 0.999


def all_inside(positions, shape):
    return np.all([(p >= 0) & (p <= n - 1) for p, n in zip(positions, shape, strict=True)], axis=0)


def outside_by(positions, shape, distance):
    return np.any([(p < -distance) | (p > n - 1 + distance) for p, n in zip(positions, shape, strict=True)], axis=0)


def test_most_of_the_patch_comes_from_inside_the_region():
    shares = []
    for index in range(20):
        drawn = a_draw(index)
        shares.append(all_inside(source_positions(drawn), region(drawn)).mean())
    assert min(shares) > 0.97


@ENGINE
def test_nothing_drawn_changes_nothing(engine, order):
    drawn = a_draw(rotation=0, scaling=(1, 1), deformation=0)
    assert drawn.margin == (0, 0, 0)
    image = np.random.default_rng(0).normal(size=(*PATCH, 1)).astype(np.float32)
    classes = np.random.default_rng(0).integers(0, 3, PATCH).astype(np.uint8)
    moved, labels, weights = ENGINES[engine](drawn, image, classes, None)
    np.testing.assert_allclose(moved, image, atol=1e-5)
    np.testing.assert_array_equal(labels, classes)
    assert weights is None


def test_rotation_keeps_lengths_in_physical_space():
    spacing = np.array([4.0, 1.0, 2.0])
    matrix = a_draw(spacing=spacing, scaling=(1, 1), rotation=40).matrix
    physical = np.diag(spacing) @ matrix @ np.diag(1 / spacing)
    np.testing.assert_allclose(physical @ physical.T, np.eye(3), atol=1e-12)
    assert abs(physical - np.eye(3)).max() > 0.1


def test_scaling_is_isotropic_and_enlarges_by_the_factor():
    matrix = a_draw(rotation=0, scaling=(2, 2)).matrix
    np.testing.assert_allclose(matrix, np.eye(3) / 2)


def test_displacement_is_isotropic_in_physical_space():
    grids = [a_draw(i, spacing=(3.0, 1.5, 1.5), deformation=6.0, patch=(60, 60, 60)).displacement for i in range(60)]
    deviations = [np.concatenate([grid[axis].ravel() for grid in grids]).std() for axis in range(3)]
    np.testing.assert_allclose(deviations, [3, 6, 6], rtol=0.1)


def test_control_points_are_spaced_as_asked():
    drawn = a_draw(spacing=None, rotation=0, scaling=(1, 1), deformation=0, grid_spacing=32, patch=(65, 97, 33))
    assert drawn.displacement.shape == (3, 3, 4, 2)


@ENGINE
def test_flips(engine, order):
    drawn = [a_draw(i, rotation=0, scaling=(1, 1), deformation=0, flips=(2,)) for i in range(20)]
    signs = {tuple(np.diag(each.matrix)) for each in drawn}
    assert signs == {(1, 1, 1), (1, 1, -1)}
    flipped = next(each for each in drawn if each.matrix[2, 2] < 0)
    image = np.random.default_rng(0).normal(size=(*PATCH, 1)).astype(np.float32)
    moved, _, _ = ENGINES[engine](flipped, image, np.zeros(PATCH, np.uint8), None)
    np.testing.assert_allclose(moved, image[:, :, ::-1], atol=1e-5)


def test_a_draw_is_a_function_of_seed_and_index():
    np.random.seed(0)
    first = a_draw(5)
    np.random.seed(1)
    again, other = a_draw(5), a_draw(6)
    np.testing.assert_array_equal(first.displacement, again.displacement)
    assert first.noise_seed == again.noise_seed != other.noise_seed


def test_grey_values():
    image = np.random.default_rng(0).normal(size=(16, 16, 16, 2)).astype(np.float32)
    plain = dict(contrast=(1, 1), brightness=0, gamma=(1, 1), noise=0)
    np.testing.assert_allclose(change_grey_values(a_draw(**plain), image), image, atol=1e-5)
    contrast = change_grey_values(a_draw(**plain | {"contrast": (2, 2)}), image)
    np.testing.assert_allclose(contrast.std(axis=(0, 1, 2)), 2 * image.std(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(contrast.mean(axis=(0, 1, 2)), image.mean(axis=(0, 1, 2)), atol=1e-4)
    gamma = change_grey_values(a_draw(**plain | {"gamma": (2, 2)}), image)
    np.testing.assert_allclose([gamma.min(), gamma.max()], [image.min(), image.max()], rtol=1e-4)
    assert gamma.mean() < image.mean()
    drawn = a_draw(**plain | {"noise": 1.0})
    noisy = change_grey_values(drawn, image)
    assert (noisy - image).std() == pytest.approx(drawn.noise, rel=0.05)
    assert noisy.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(scaling=(0, 1)), "scaling: expected 0 < smallest <= largest"),
        (dict(contrast=(2, 1)), "contrast: expected 0 < smallest <= largest"),
        (dict(rotation=-1), "rotation: expected 0 or more"),
        (dict(deformation=float("nan")), "deformation: expected 0 or more"),
        (dict(grid_spacing=1), "grid_spacing: expected 2 voxels or more"),
        (dict(flips=(3,)), "flips: expected axes 0"),
    ],
)
def test_wrong_settings(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        AugmentSettings(**changes)


def test_a_broken_elasticdeform_says_how_to_mend_it(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest):
        if name == "elasticdeform":
            raise ImportError("numpy.core.multiarray failed to import")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(
        InputError, match=r"elasticdeform: .* failed to import.* pip install 'numpy<2'.*--engine native"
    ):
        elastic.load_elasticdeform()


def test_a_thin_volume_and_one_control_interval_do_no_harm():
    drawn = a_draw(patch=(1, 9, 9), grid_spacing=32)
    image = np.ones((*region(drawn, (1, 9, 9)), 1), np.float32)
    moved, labels, _ = native.warp(drawn, image, np.ones(image.shape[:3], np.uint8), None)
    np.testing.assert_allclose(moved, 1, atol=1e-6)
    assert labels.shape == (1, 9, 9) and set(np.unique(labels)) <= {1, UNLABELLED}
