"""Draws, and both engines against a slow SciPy oracle and against each other."""

import builtins

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import kstest

from keras_unet3d.augment import ENGINES, elastic, grey, native
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED

PATCH = (12, 18, 20)
# Settings under which grey values stay as they are.
GREY = dict(contrast=(1, 1), brightness=0, gamma=(1, 1), noise=0, blur_share=0, low_resolution_share=0)


def a_draw(index=0, spacing=(2.0, 1.0, 1.0), patch=PATCH, channels=1, **changes):
    settings = AugmentSettings(**GREY | {"grid_spacing": 12, "deformation": 1.5} | changes)
    return draw(generator(7, index), settings, patch, spacing, channels)


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
    drawn = a_draw(index, channels=2)
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
    found = native.augment(drawn, image, classes, weight)
    monkeypatch.setattr(elastic, "IMAGE_ORDER", 1)
    expected = elastic.augment(drawn, image, classes, weight)
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
    assert first.grey.noise_seed == again.grey.noise_seed != other.grey.noise_seed


def changed(image, **changes):
    """Return the draw with `changes` alone and the image `(z, y, x, channels)` that it makes."""
    drawn = a_draw(patch=image.shape[:3], channels=image.shape[3], **changes)
    arrays = {name: array[None] for name, array in grey.arrays(drawn.grey, image.shape[:3]).items()}
    return drawn.grey, np.asarray(grey.change(image[None], arrays))[0]


@pytest.fixture
def image():
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(16, 16, 16, 2)), (1, 1, 1, 0))
    return (smooth / smooth.std()).astype(np.float32)


def test_nothing_drawn_leaves_grey_values_alone(image):
    np.testing.assert_allclose(changed(image)[1], image, atol=1e-5)


def test_contrast_keeps_the_mean_and_multiplies_the_deviation(image):
    drawn, found = changed(image, contrast=(0.5, 2))
    assert drawn.contrast[0, 0] != drawn.contrast[0, 1], "channels change independently"
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), drawn.contrast[0] * image.std(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), image.mean(axis=(0, 1, 2)), atol=1e-4)


def test_brightness_is_added(image):
    drawn, found = changed(image, brightness=0.5)
    np.testing.assert_allclose((found - image).mean(axis=(0, 1, 2)), drawn.brightness[0], atol=1e-4)


def test_sections_change_independently_each_by_what_it_holds(image):
    drawn, found = changed(image, contrast=(0.5, 2), brightness=0.5, by_section=True)
    assert drawn.contrast.shape == drawn.brightness.shape == (16, 2)
    assert len(np.unique(drawn.contrast)) == len(np.unique(drawn.brightness)) == 32
    np.testing.assert_allclose(found.std(axis=(1, 2)), drawn.contrast * image.std(axis=(1, 2)), rtol=1e-3)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), image.mean(axis=(1, 2)) + drawn.brightness, atol=1e-4)


def test_gamma_of_a_section_is_between_its_own_extremes(image):
    drawn, found = changed(image, gamma=(0.5, 2), by_section=True)
    assert drawn.gamma.shape == (16, 2)
    for extreme in (np.min, np.max):
        np.testing.assert_allclose(extreme(found, axis=(1, 2)), extreme(image, axis=(1, 2)), atol=1e-5)
    plane = image[3, :, :, 1]
    share = (plane - plane.min()) / np.ptp(plane)
    gamma = drawn.gamma[3, 1]
    expected = 1 - (1 - share) ** gamma if drawn.inverted[3, 1] else share**gamma
    np.testing.assert_allclose(found[3, :, :, 1], plane.min() + np.ptp(plane) * expected, atol=1e-4)


@ENGINE
@pytest.mark.parametrize("index", range(3))
def test_in_the_plane_sections_stay_sections(engine, order, index):
    drawn = a_draw(index, spacing=(10.0, 1.0, 1.0), rotation=180, flips=(0, 1, 2), in_plane=True)
    assert drawn.margin[0] == 0 and not drawn.displacement[0].any()
    assert abs(drawn.matrix[0]).tolist() == [1, 0, 0] and not drawn.matrix[1:, 0].any()
    assert abs(drawn.matrix[1, 2]) > 0.05, "they are turned"
    # Sections of one value each, and one class.
    planes = np.arange(PATCH[0], dtype=np.float32)[:, None, None] + np.zeros(region(drawn), np.float32)
    moved, labels, _ = ENGINES[engine](drawn, planes[..., None], planes.astype(np.uint8), None)
    along = slice(None, None, int(drawn.matrix[0, 0]))
    np.testing.assert_allclose(moved[..., 0], planes[along, : PATCH[1], : PATCH[2]], atol=1e-3)
    seen = labels != UNLABELLED
    np.testing.assert_array_equal(labels[seen], planes[along, : PATCH[1], : PATCH[2]][seen])


def test_scaling_in_the_plane_leaves_sections_as_far_apart():
    matrix = a_draw(rotation=0, scaling=(2, 2), in_plane=True).matrix
    np.testing.assert_allclose(matrix, np.diag([1, 0.5, 0.5]))


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_by_hand(inverted):
    values = np.array([0.0, 0.25, 0.5, 1.0], np.float32) * 4 - 2
    image = np.broadcast_to(values, (1, 1, 4))[..., None]
    arrays = grey.arrays(a_draw(gamma=(2, 2), patch=(1, 1, 4)).grey, (1, 1, 4)) | {"inverted": np.float32([[inverted]])}
    found = np.asarray(grey.change(image[None], {name: array[None] for name, array in arrays.items()}))[0, 0, 0, :, 0]
    # On the share of 0..1: x**2, or 1 - (1 - x)**2.
    shares = [0, 7 / 16, 3 / 4, 1] if inverted else [0, 1 / 16, 1 / 4, 1]
    np.testing.assert_allclose(found, np.array(shares) * 4 - 2, atol=1e-5)


def test_noise_has_the_drawn_deviation_and_is_a_function_of_the_seed(image):
    drawn, found = changed(image, noise=1.0)
    np.testing.assert_allclose((found - image).std(axis=(0, 1, 2)), drawn.noise[0], rtol=0.05)
    np.testing.assert_array_equal(found, changed(image, noise=1.0)[1])


def test_normal_values_are_normal_and_independent():
    values = np.asarray(grey.normal(np.array([[3, 4], [3, 5], [4, 4]], np.int32), (40, 40, 40, 1)))
    flat = values.reshape(3, -1)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=0.02)
    np.testing.assert_allclose(flat.std(axis=1), 1, atol=0.02)
    assert kstest(flat[0], "norm").pvalue > 0.001
    # Neither with another seed nor with a neighbour along any axis is there a correlation.
    assert abs(np.corrcoef(flat) - np.eye(3)).max() < 0.02
    for axis in range(3):
        pairs = np.moveaxis(values[0], axis, 0)
        assert abs(np.corrcoef(pairs[1:].ravel(), pairs[:-1].ravel())[0, 1]) < 0.02


def test_the_rarest_bits_give_finite_values():
    bits = np.array([0, 1, 2**22 - 1, 2**22, 2**23 - 2, 2**23 - 1, 2**24 - 1, 2**31 - 1, -1, -(2**31)], np.int32)
    values = np.asarray(grey._normal(bits))
    assert np.isfinite(values).all()
    # The outermost of 2**23 values are over five standard deviations off.
    np.testing.assert_allclose([values[0], values[5]], [-5.29, 5.29], atol=0.1)
    np.testing.assert_allclose(values[2] + values[3], 0, atol=1e-6)


def test_blur_is_a_gaussian_that_is_isotropic_in_physical_space(image):
    drawn, found = changed(image, blur=(0.9, 0.9), blur_share=1)
    np.testing.assert_allclose(drawn.blur, [[0.45, 0.9, 0.9]] * 2)
    expected = gaussian_filter(image, (0.45, 0.9, 0.9, 0), mode="mirror")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_low_resolution_leaves_coarse_axes_alone(image):
    drawn, found = changed(image, low_resolution=(0.5, 0.5), low_resolution_share=1)
    np.testing.assert_allclose(drawn.low_resolution, [[1, 0.5, 0.5]] * 2)
    # The means of every two voxels along y and x, and linear between them.
    coarse = image.reshape(16, 8, 2, 8, 2, 2).mean(axis=(2, 4))
    positions = np.clip((np.arange(16) - 0.5) / 2, 0, 7)
    grid = np.meshgrid(np.arange(16), positions, positions, indexing="ij")
    for channel in range(2):
        expected = map_coordinates(coarse[..., channel], grid, order=1, mode="nearest")
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-5)


def test_an_axis_of_one_voxel_has_one_resolution():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    _, found = changed(image, blur_share=1, low_resolution_share=1, low_resolution=(0.5, 0.5))
    assert found.shape == image.shape and np.isfinite(found).all()


def test_shares_of_blurred_and_coarse_channels():
    drawn = [draw(generator(0, i), AugmentSettings(), PATCH, None, 4).grey for i in range(300)]
    assert np.mean([each.blur.any(axis=1) for each in drawn]) == pytest.approx(0.1, abs=0.03)
    assert np.mean([(each.low_resolution < 1).any(axis=1) for each in drawn]) == pytest.approx(0.125, abs=0.03)
    assert np.mean([each.inverted for each in drawn]) == pytest.approx(0.25, abs=0.04)


def test_a_voxel_size_that_is_wrong_by_orders_keeps_the_region_small():
    for edge in (1e-6, 1e6):
        drawn = draw(generator(0, 0), AugmentSettings(voxel=1.0), (32, 32, 32), (edge,) * 3)
        assert max(drawn.margin) < 100
        assert max(drawn.displacement.shape) <= 32


@pytest.mark.parametrize("by_section", [False, True])
def test_both_engines_change_grey_values_alike(monkeypatch, by_section):
    settings = AugmentSettings(blur_share=1, low_resolution_share=1, by_section=by_section)
    drawn = draw(generator(0, 1), settings, PATCH, (2, 1, 1))
    image = gaussian_filter(np.random.default_rng(0).normal(size=region(drawn)), 2).astype(np.float32)[..., None]
    monkeypatch.setattr(elastic, "IMAGE_ORDER", 1)
    found, expected = (ENGINES[name](drawn, image, image[..., 0] > 0, None)[0] for name in ENGINES)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_volumes_of_different_voxel_size_are_deformed_alike_in_physical_space():
    settings = AugmentSettings(voxel=0.5, deformation=4, grid_spacing=32)
    grids = {
        edge: [draw(generator(0, i), settings, (65, 65, 65), (edge,) * 3).displacement for i in range(40)]
        for edge in (0.25, 0.5, 1.0)
    }
    for edge, displacements in grids.items():
        # 4 voxels of 0.5 um are 2 um; 32 of them are 16 um.
        deviation = np.concatenate([each.ravel() for each in displacements]).std()
        assert deviation * edge == pytest.approx(2, rel=0.05)
    shape = draw(
        generator(0, 0), AugmentSettings(voxel=0.5, rotation=0, scaling=(1, 1), deformation=0), (65,) * 3, (1,) * 3
    )
    assert shape.displacement.shape == (3, 5, 5, 5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(scaling=(0, 1)), r"scaling: expected two finite numbers of at least 0.1, found \(0, 1\)"),
        (dict(scaling=(1, 1e9)), r"scaling: expected two finite numbers of at most 10, found \(1, 1000000000.0\)"),
        (dict(noise=1e9), "noise: expected a finite number of at most 100, found 1000000000.0"),
        (dict(contrast=(2, 1)), "contrast: expected 0 < smallest <= largest"),
        (dict(rotation=-1), "rotation: expected a finite number of at least 0, found -1"),
        (dict(deformation=float("nan")), "deformation: expected a finite number of at least 0, found nan"),
        (dict(grid_spacing=1), "grid_spacing: expected a finite number of at least 2, found 1"),
        (dict(grid_spacing=1e6), "grid_spacing: expected a finite number of at most 128, found 1000000.0"),
        (dict(deformation=100), "deformation: expected at most half the grid_spacing, 16, .*; found 100"),
        (dict(rotation=500), "rotation: expected a finite number of at most 180, found 500"),
        (dict(flips=(3,)), "flips: expected axes 0"),
        (dict(voxel=0.0), "voxel: expected a length above 0, found 0"),
        (dict(blur=(0, 1)), "blur: expected 0 < smallest <= largest"),
        (dict(low_resolution=(0.5, 2)), r"low_resolution: expected two finite numbers of at most 1, found \(0.5, 2\)"),
        (dict(blur_share=1.5), "blur_share: expected a finite number of at most 1, found 1.5"),
        (dict(low_resolution_share=-1), "low_resolution_share: expected a finite number of at least 0, found -1"),
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
        InputError, match=r"elasticdeform: .* failed to import.* pip install 'numpy<2'.*or train with `engine=native`"
    ):
        elastic.load_elasticdeform()


def test_a_thin_volume_and_one_control_interval_do_no_harm():
    drawn = a_draw(patch=(1, 9, 9), grid_spacing=32)
    image = np.ones((*region(drawn, (1, 9, 9)), 1), np.float32)
    moved, labels, _ = native.augment(drawn, image, np.ones(image.shape[:3], np.uint8), None)
    np.testing.assert_allclose(moved, 1, atol=1e-6)
    assert labels.shape == (1, 9, 9) and set(np.unique(labels)) <= {1, UNLABELLED}
