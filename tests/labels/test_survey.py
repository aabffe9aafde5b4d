"""survey: what a label volume holds, over all and per plane, in any type and however many blocks it has."""

import numpy as np
import pytest
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.labels import class_volume, survey
from keras_unet3d.labels.table import LabelTable
from keras_unet3d.volumes import from_array

SEVERAL = (3, 130, 140)  # two blocks along y, two along x


def check(raw, name="my labels"):
    """Assert that counts and planes are those of numpy, and return the survey."""
    found = survey(from_array(raw, name))
    values, counts = np.unique(raw, return_counts=True)
    assert (found.name, found.shape) == (name, raw.shape)
    assert list(found.counts.items()) == list(zip(map(int, values), counts.tolist(), strict=True))
    assert all(type(value) is int for pair in found.counts.items() for value in pair)
    assert set(found.planes) == set(found.counts)
    for value, planes in found.planes.items():
        for axis, held in enumerate(planes):
            others = tuple(other for other in range(3) if other != axis)
            np.testing.assert_array_equal(held, (raw == value).sum(axis=others))
    return found


def test_counts_and_planes_by_hand():
    found = survey(from_array(np.array([[[7, 7, 0], [0, 7, 7]], [[2, 0, 0], [0, 0, 0]]])))
    assert found.counts == {0: 7, 2: 1, 7: 4}
    assert [held.tolist() for held in found.planes[7]] == [[4, 0], [2, 2], [1, 2, 1]]
    assert [held.tolist() for held in found.planes[2]] == [[0, 1], [1, 0], [1, 0, 0]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "int64", "uint64", "float16", "float32"])
def test_counts_and_planes_over_several_blocks(dtype):
    check(np.random.default_rng(0).integers(0, 4, SEVERAL).astype(dtype))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", "float32"])
def test_negative_values(dtype):
    check(np.random.default_rng(0).integers(-3, 2, SEVERAL).astype(dtype))


@pytest.mark.parametrize("dtype, values", [("int8", [-100, 0, 100]), ("int16", [-20000, 0, 20000])])
def test_values_further_apart_than_their_type_reaches(dtype, values):
    check(np.resize(values, (2, 3, 4)).astype(dtype))


@pytest.mark.parametrize("values", [[0, 70000, 2**40], [-1, 2**62], [2**63 - 1, 2**63 - 2]])
def test_large_values(values):
    check(np.resize(np.array(values, np.int64), (2, 3, 4)))


def test_a_value_that_is_in_the_last_block_only():
    raw = np.zeros(SEVERAL, np.uint8)
    raw[2, 129, 139] = 9
    assert check(raw).counts == {0: raw.size - 1, 9: 1}


def test_true_and_false_are_labels():
    raw = np.random.default_rng(0).random(SEVERAL) < 0.1
    found = survey(from_array(raw))
    assert found.counts == {0: int((~raw).sum()), 1: int(raw.sum())}
    np.testing.assert_array_equal(found.planes[1][0], raw.sum(axis=(1, 2)))


@pytest.mark.parametrize("count, few", [(72, True), (73, False), (300, False)])
def test_planes_are_told_of_as_many_values_as_may_be_classes(count, few):
    # A value of a later block makes it too many as well.
    raw = np.zeros((1, 2, 300), np.int32)
    raw[0, 0, :count] = np.arange(count)
    found = survey(from_array(raw))
    assert len(found.counts) == count
    assert set(found.planes) == (set(range(count)) if few else set())


@pytest.mark.parametrize("value, shown", [(0.5, "0.5"), (-0.25, "-0.25"), (np.nan, "nan"), (np.inf, "inf")])
def test_fractions_are_no_labels(value, shown):
    raw = np.zeros((2, 3, 4), np.float32)
    raw[1, 1, 1:3] = value
    words = ("my labels: expected labels that are whole numbers", f"found {shown} (2 such voxels", "is this the image?")
    with pytest.raises(InputError, match=says(*words)):
        survey(from_array(raw, "my labels"))


@pytest.mark.parametrize("value", [1e30, -3.4e38])
def test_whole_numbers_that_no_integer_can_hold_are_no_labels(value):
    raw = np.zeros((2, 3, 4), np.float32)
    raw[1, 1, 1] = value
    with pytest.raises(InputError, match=says("my labels: expected labels that are whole numbers", f"{value:g}")):
        survey(from_array(raw, "my labels"))


@pytest.mark.parametrize("look", [survey, lambda volume: class_volume(volume, LabelTable((0, 1), ("a", "b")))])
def test_labels_with_channels_are_refused(look):
    words = ("my labels: expected one label per voxel", "found 3 channels", "store integer labels")
    with pytest.raises(InputError, match=says(*words)):
        look(from_array(np.zeros((2, 3, 4, 3)), "my labels"))
