"""annotated_slices: which planes somebody annotated, whatever crosses them, and how it is said."""

import numpy as np
import pytest

from keras_unet3d.labels import UNLABELLED, AnnotatedSlices, annotated_slices
from keras_unet3d.volumes import from_array

SHAPE = (20, 40, 50)


def found(classes):
    """Return the annotated planes across z, y, x, and whether the volume is dense."""
    slices = annotated_slices(from_array(classes))
    return *map(list, slices.per_axis), slices.dense


def painted(*regions, shape=SHAPE):
    """Return classes that are labelled in the regions only."""
    classes = np.full(shape, UNLABELLED, np.uint8)
    for number, region in enumerate(regions):
        classes[region] = number % 3
    return classes


def across(axis, plane):
    return (*(slice(None),) * axis, plane)


def test_slices_across_one_axis():
    assert found(painted(across(0, 3), across(0, 11))) == ([3, 11], [], [], False)
    assert found(painted(across(1, 0))) == ([], [0], [], False)
    assert found(painted(across(2, 49), across(2, 7))) == ([], [], [7, 49], False)


def test_slices_of_three_directions_that_cross():
    regions = [across(0, 3), across(0, 11), across(1, 20), across(2, 0), across(2, 30), across(2, 49)]
    assert found(painted(*regions)) == ([3, 11], [20], [0, 30, 49], False)


def test_adjacent_slices():
    assert found(painted(*(across(0, plane) for plane in (4, 5, 6, 12)))) == ([4, 5, 6, 12], [], [], False)
    assert found(painted(across(1, 38), across(1, 39))) == ([], [38, 39], [], False)


def test_rectangles_painted_inside_slices():
    regions = [(3, slice(5, 30), slice(10, 40)), (11, slice(8, 35), slice(0, 20)), (slice(4, 15), 36, slice(5, 45))]
    assert found(painted(*regions)) == ([3, 11], [36], [], False)


def test_a_plane_with_little_beside_full_ones_is_none():
    assert found(painted(across(0, 3), (11, slice(5, 15), slice(5, 15)))) == ([3], [], [], False)


def test_classes_do_not_matter():
    classes = painted(across(0, 3), across(1, 20))
    noisy = np.where(classes == UNLABELLED, classes, np.random.default_rng(0).integers(0, 3, SHAPE)).astype(np.uint8)
    assert found(noisy) == found(classes) == ([3], [20], [], False)


def test_dense_labels():
    z, y, x, dense = found(np.zeros(SHAPE, np.uint8))
    assert (z, y, x, dense) == (list(range(20)), list(range(40)), list(range(50)), True)


def test_nearly_dense_labels():
    classes = np.zeros(SHAPE, np.uint8)
    classes[0], classes[:, :3] = UNLABELLED, UNLABELLED
    assert found(classes)[3]


@pytest.mark.parametrize("part", [slice(0, 10), slice(5, 15)])
def test_half_a_volume_is_not_dense(part):
    z, _, _, dense = found(painted((part,)))
    assert (z, dense) == (list(range(20)[part]), False)


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_scattered_voxels_are_no_slices(share):
    scattered = np.random.default_rng(0).random(SHAPE) < share
    assert found(painted((scattered,))) == ([], [], [], False)


def test_a_line_and_nothing_at_all_are_no_slices():
    assert found(painted((3, 20, slice(None)))) == ([], [], [], False)
    assert found(painted()) == ([], [], [], False)


def test_slices_of_more_than_one_block():
    shape = (4, 140, 260)
    regions = [across(0, 1), across(1, 127), across(1, 128), across(2, 0), across(2, 128), across(2, 259)]
    assert found(painted(*regions, shape=shape)) == ([1], [127, 128], [0, 128, 259], False)


def test_the_slices_of_a_single_plane_are_all():
    assert found(np.zeros((1, 6, 7), np.uint8)) == ([0], list(range(6)), list(range(7)), True)


@pytest.mark.parametrize(
    "slices, shown",
    [
        (AnnotatedSlices((8, 20, 31), (24, 62), (), False), "z 8, 20, 31; y 24, 62"),
        (AnnotatedSlices((3, 7, 8, 9, 10, 20), (), (0, 1), False), "z 3, 7-10, 20; x 0-1"),
        (AnnotatedSlices((), (5,), (), False), "y 5"),
        (AnnotatedSlices((0, 1), (0, 1), (0, 1), True), "dense"),
        (AnnotatedSlices((), (), (), False), "no whole slices, scattered voxels"),
    ],
)
def test_slices_are_shown_for_people(slices, shown):
    assert slices.shown() == shown
