"""The phantom of serial sections: what makes such stacks hard is in it."""

import numpy as np
import pytest

from keras_unet3d.datasets.sections import EVERY, FIRST, UNLABELLED, serial_sections


@pytest.fixture(scope="module")
def stack():
    return serial_sections(0, (20, 160, 160))


def test_it_is_a_function_of_its_seed():
    first, again, other = (serial_sections(seed, (4, 64, 64)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert (first.image != other.image).any()


def test_mitochondria_are_rare(stack):
    share = (stack.truth == 1).mean(axis=(1, 2))
    assert set(np.unique(stack.truth)) == {0, 1}
    assert 0.03 < share.mean() < 0.12


def test_every_fifth_section_is_labelled_and_no_other(stack):
    labelled = np.flatnonzero((stack.sparse != UNLABELLED).all(axis=(1, 2)))
    assert labelled.tolist() == [2, 7, 12, 17] == list(range(FIRST, 20, EVERY))
    np.testing.assert_array_equal(stack.sparse[labelled], stack.truth[labelled])
    assert (np.delete(stack.sparse, labelled, 0) == UNLABELLED).all()


def test_sections_differ_and_the_last_one_most(stack):
    mean, std = stack.image.mean(axis=(1, 2)), stack.image.std(axis=(1, 2))
    assert mean[:-1].std() > 8, "brightness differs"
    assert mean.argmin() == 19 and std.argmin() == 19
    # Its cytoplasm is as grey as mitochondria are elsewhere.
    cytoplasm = np.median(stack.image[19][stack.truth[19] == 0])
    mitochondria = np.median(stack.image[:19][stack.truth[:19] == 1])
    assert abs(cytoplasm - mitochondria) < 15 < np.median(stack.image[:19][stack.truth[:19] == 0]) - mitochondria
