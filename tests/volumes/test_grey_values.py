"""intensity: statistics of a whole volume, whatever its offset and however many blocks it has."""

import numpy as np
import pytest
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import Statistics, measure, normalize, normalized

ONE_BLOCK, SEVERAL = (6, 7, 8), (4, 130, 140)
# Mean 3 and standard deviation 2, of values from 1 to 255.
THREE_AND_TWO = Statistics(*(np.array([value]) for value in (3.0, 2.0, 1.0, 255.0)))


def image(shape, offset=0.0, spread=1.0, dtype="float64", channels=1):
    """Return noise that drifts along the axes, so that blocks have means of their own."""
    rng = np.random.default_rng(1)
    drift = np.linspace(-2, 2, shape[2]) + np.linspace(-1, 1, shape[1])[:, None]
    array = offset + spread * (rng.normal(size=(*shape, channels)) + drift[..., None])
    return array.astype(dtype)


def check(array):
    statistics = measure(from_array(array))
    voxels = array.reshape(-1, array.shape[-1]).astype(np.longdouble)
    np.testing.assert_array_equal(statistics.low, voxels.min(0).astype(float))
    np.testing.assert_array_equal(statistics.high, voxels.max(0).astype(float))
    np.testing.assert_allclose(statistics.mean, voxels.mean(0).astype(float), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(statistics.std, voxels.std(0).astype(float), rtol=1e-7)


@pytest.mark.parametrize("shape", [ONE_BLOCK, SEVERAL, (130, 3, 5)])
@pytest.mark.parametrize("offset, spread", [(0, 1), (0, 1e-9), (100, 0.5), (1e6, 50), (-1e6, 50), (1e6, 0.2)])
def test_statistics_are_those_of_numpy(shape, offset, spread):
    check(image(shape, offset, spread))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float16", "float32"])
def test_statistics_of_narrow_types_do_not_overflow(dtype):
    check(image(SEVERAL, 120, 20, dtype))


def test_statistics_are_those_of_each_channel():
    array = image(SEVERAL, channels=3) * [1, 1e-3, 1e4] + [0, 5, 1e6]
    check(array)
    assert measure(from_array(array)).mean.shape == (3,)


def test_lowest_and_highest_value_are_those_of_all_blocks_and_each_channel():
    array = np.full((*SEVERAL, 2), 5.0)
    array[0, 0, 0], array[3, 129, 139] = (-7, 5.5), (6, -1e6)
    statistics = measure(from_array(array))
    assert (statistics.low.tolist(), statistics.high.tolist()) == ([-7, -1e6], [6, 5.5])


def test_one_bright_voxel_is_an_image():
    array = np.zeros((*SEVERAL, 1), np.uint8)
    array[3, 129, 139] = 1
    check(array)


@pytest.mark.parametrize("shape", [ONE_BLOCK, SEVERAL])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused_and_counted(shape, value):
    array = image(shape, channels=2)
    array[0, 0, 0] = value
    array[-1, -1, -3:-1, 1] = value
    words = ("my image: expected finite grey values", "NaN or infinity in 3 voxels", "replace them")
    with pytest.raises(InputError, match=says(*words)):
        measure(from_array(array, "my image"))


def test_nothing_but_nan_is_refused():
    with pytest.raises(InputError, match=says("expected finite grey values", "in 336 voxels")):
        measure(from_array(np.full(ONE_BLOCK, np.nan)))


@pytest.mark.parametrize("shape", [ONE_BLOCK, SEVERAL])
@pytest.mark.parametrize("dtype, value", [("uint8", 0), ("uint8", 7), ("float32", 0.1), ("float64", 1e6 / 3)])
def test_a_constant_image_is_refused(shape, dtype, value):
    array = np.full(shape, value, dtype)
    words = ("my image: expected an image", f"the constant value {float(array[0, 0, 0]):g} in every voxel", "check")
    with pytest.raises(InputError, match=says(*words)):
        measure(from_array(array, "my image"))


def test_a_constant_channel_is_refused():
    array = image(ONE_BLOCK, channels=3)
    array[..., 1] = 42
    with pytest.raises(InputError, match=says("the constant value 42 in every voxel of a channel")):
        measure(from_array(array))


def test_zscore_has_mean_0_and_deviation_1_per_channel():
    array = image(SEVERAL, channels=2, dtype="float32") * np.float32([3, 200]) + np.float32([1, 1e4])
    normal = normalize(array, measure(from_array(array)))
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean((0, 1, 2), np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 1, 2), np.float64), 1, rtol=1e-5)


def test_zscore_by_hand():
    voxels = np.array([[[[1], [3], [7]]]], np.uint8)
    assert normalize(voxels, THREE_AND_TWO).tolist() == [[[[-1.0], [0.0], [2.0]]]]


def test_none_changes_the_type_alone():
    voxels = np.array([[[[1], [255]]]], np.uint8)
    normal = normalize(voxels, THREE_AND_TWO, "none")
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(normal, voxels)


def sections(shape=(5, 130, 140), channels=2):
    """Return sections of contrast and brightness of their own."""
    rng = np.random.default_rng(2)
    gain, offset = rng.uniform(0.2, 3, (shape[0], 1, 1, channels)), rng.uniform(-1000, 1000, (shape[0], 1, 1, channels))
    return gain * rng.normal(size=(*shape, channels)) + offset


def test_sections_have_mean_0_and_deviation_1_each():
    array = sections()
    statistics = measure(from_array(array), "sections")
    assert statistics.mean.shape == statistics.std.shape == (5, 1, 1, 2)
    np.testing.assert_allclose(statistics.mean[:, 0, 0], array.mean((1, 2)), rtol=1e-10)
    np.testing.assert_allclose(statistics.std[:, 0, 0], array.std((1, 2)), rtol=1e-7)
    np.testing.assert_array_equal(statistics.low, array.min((0, 1, 2)))
    normal = normalize(array, statistics, "sections")
    np.testing.assert_allclose(normal.mean((1, 2), np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((1, 2), np.float64), 1, rtol=1e-5)


def test_an_empty_section_becomes_0():
    array = sections()
    array[3] = 77.1
    volume = from_array(array)
    normal = normalize(array, measure(volume, "sections"), "sections")
    np.testing.assert_allclose(normal[3], 0, atol=1e-5)
    np.testing.assert_allclose(normal[2].std((0, 1), np.float64), 1, rtol=1e-5)


@pytest.mark.parametrize("how", ["zscore", "sections", "none"])
def test_a_normalised_volume_is_the_same_whatever_box_is_read(how):
    array = sections()
    statistics = measure(from_array(array), how)
    volume = normalized(from_array(array), statistics, how)
    assert volume.dtype == np.float32
    box = (slice(2, 4), slice(10, 50), slice(0, 7))
    np.testing.assert_array_equal(volume.read(box), normalize(array, statistics, how)[box])


def test_constant_sections_that_differ_are_refused_only_where_all_are_one_value():
    with pytest.raises(InputError, match=says("expected an image, found the constant value 7")):
        measure(from_array(np.full((3, 4, 5), 7.0)), "sections")
    stairs = np.repeat(np.arange(3.0), 20).reshape(3, 4, 5, 1)
    np.testing.assert_array_equal(normalize(stairs, measure(from_array(stairs), "sections"), "sections"), 0)
