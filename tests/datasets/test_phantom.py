"""sample: the embedded phantom is what it says, the same each time, and nobody can spoil it."""

import numpy as np
import pytest

from keras_unet3d import InputError
from keras_unet3d.datasets.phantom import NAMES, SHAPE, SPACING, UNLABELLED, phantom

ARRAYS = ("image", "truth", "sparse")


@pytest.fixture(scope="module")
def again():
    """Return the phantom made anew, and one of another seed."""
    return phantom.__wrapped__(0), phantom.__wrapped__(1)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_phantom_is_the_same_each_time(again, name):
    same, other = (getattr(made, name) for made in again)
    mine = getattr(phantom(), name)
    assert same is not mine
    np.testing.assert_array_equal(same, mine)
    assert (other != mine).any()


def test_the_phantom_does_not_touch_the_global_generator():
    np.random.seed(5)
    expected = np.random.uniform()
    np.random.seed(5)
    phantom.__wrapped__(3)
    assert np.random.uniform() == expected


@pytest.mark.parametrize("name", ARRAYS)
def test_the_phantom_is_read_only(name):
    array = getattr(phantom(), name)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1


@pytest.mark.parametrize("name", ARRAYS)
def test_the_phantom_has_one_shape_and_type(name):
    array = getattr(phantom(), name)
    assert (array.shape, array.dtype) == (SHAPE, np.uint8)


def test_the_voxel_size_is_declared():
    assert phantom().spacing == SPACING == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_is_there_often_enough_to_learn(again, seed):
    made = again[seed]
    for volume in (made.truth, made.sparse):
        shares = np.bincount(volume[volume != UNLABELLED], minlength=len(NAMES)) / (volume != UNLABELLED).sum()
        assert shares.shape == (len(NAMES),)
        assert shares.min() > 0.05
    assert UNLABELLED not in made.truth


def test_sparse_labels_are_the_truth_in_whole_slices():
    truth, sparse = phantom().truth, phantom().sparse
    labelled = sparse != UNLABELLED
    np.testing.assert_array_equal(sparse[labelled], truth[labelled])
    expected = np.zeros(SHAPE, bool)
    expected[[8, 20, 31]] = True
    expected[:, [24, 62]] = True
    expected[:, :, [30, 74]] = True
    np.testing.assert_array_equal(labelled, expected)
    assert labelled.mean() == pytest.approx(1 - (37 / 40) * (94 / 96) ** 2)


def test_walls_are_brighter_than_what_they_separate():
    image, truth = phantom().image.astype(float), phantom().truth
    lumen, wall, background = (image[truth == value].mean() for value in range(3))
    assert wall > 1.2 * max(lumen, background)


@pytest.mark.parametrize(
    ("seed", "sentence"),
    [
        (-1, "seed: expected a whole number from 0 to 4294967295, found -1."),
        ("a", "seed: expected a whole number, found 'a'."),
        ([1], "seed: expected a whole number, found [1]."),
    ],
)
def test_what_is_no_seed_is_refused(seed, sentence):
    with pytest.raises(InputError) as caught:
        phantom(seed)
    assert str(caught.value) == sentence


def test_a_computed_seed_counts_as_if_it_was_written():
    assert phantom(np.uint8(0)) is phantom(0)
