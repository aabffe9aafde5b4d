"""uncertainty: entropy by hand, and slices in the order of what they would resolve."""

import numpy as np
import pytest

from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.workflows.annotate.ranking import Suggestion, decaying_noise, suggest_slices, weighed_by_class

SHAPE = (20, 24, 28)


def nothing_labelled(shape=SHAPE):
    return np.zeros(shape, bool)


def test_entropy_by_hand():
    probabilities = np.array([[[[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]]]], np.float32)
    expected = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    found = entropy(probabilities)
    assert found.shape == (1, 1, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0], [0, 1, expected], atol=1e-6)


def test_no_idea_is_one_for_any_number_of_classes():
    np.testing.assert_allclose(entropy(np.full((2, 3, 4, 5), 0.2)), 1, rtol=1e-6)


@pytest.mark.parametrize("axis, plane", [(0, 7), (1, 11), (2, 20)])
def test_the_plane_that_is_unsure_comes_first(axis, plane):
    unsure = np.zeros(SHAPE)
    np.moveaxis(unsure, axis, 0)[plane] = 1
    assert suggest_slices(unsure, nothing_labelled(), 1) == [Suggestion(axis, plane, pytest.approx(1))]


def test_a_plane_resolves_what_is_around_it_by_its_distance():
    unsure = np.zeros(SHAPE)
    unsure[8] = unsure[12] = 1
    (first,) = suggest_slices(unsure, nothing_labelled(), 1, axes=[0], reach=4)
    assert (first.axis, first.plane) == (0, 10), "between the two it resolves more than on either"
    assert first.score == pytest.approx(2 * np.exp(-((2 / 4) ** 2)))


def test_what_lies_near_a_label_is_known_already():
    labelled = nothing_labelled()
    labelled[5] = True
    first, second = suggest_slices(np.ones(SHAPE), labelled, 2, axes=[0], reach=3)
    assert first.plane > 5 + 2 * 3
    assert abs(second.plane - first.plane) > 3, "nor is the neighbour of a suggested slice suggested"


def test_a_slice_that_is_annotated_is_not_suggested_again():
    unsure = np.zeros(SHAPE)
    unsure[8] = unsure[12] = 1
    labelled = nothing_labelled()
    labelled[10] = True
    (first,) = suggest_slices(unsure, labelled, 1, axes=[0], reach=4)
    assert first.plane != 10, "though it lies between the two that are unsure"
    labelled[10, 0, 0] = False
    (first,) = suggest_slices(unsure, labelled, 1, axes=[0], reach=4)
    assert first.plane == 10, "one voxel of it is left to paint"


def test_noise_halves_with_every_round_and_is_the_same_for_the_same_labels():
    sizes = []
    for annotated in (0, 3, 6, 30):
        labelled = np.zeros((200, 210, 220), bool)
        labelled[:annotated] = True
        noise = decaying_noise(labelled)
        assert [len(planes) for planes in noise] == [200, 210, 220]
        np.testing.assert_array_equal(np.concatenate(noise), np.concatenate(decaying_noise(labelled)))
        sizes.append(np.log(np.concatenate(noise)).std())
    # The standard deviation of the Gumbel distribution is pi / sqrt(6).
    np.testing.assert_allclose(sizes, np.pi / np.sqrt(6) * np.array([0, 1 / 2, 1 / 4, 1 / 1024]), rtol=0.15)


def test_planes_are_ranked_by_their_scores_times_their_factors():
    unsure, factors = np.ones(SHAPE), [np.ones(size) for size in SHAPE]
    factors[1] = factors[1] * 0.5
    factors[1][20] = 9
    (first,) = suggest_slices(unsure, nothing_labelled(), 1, factors=factors)
    (plain,) = suggest_slices(unsure, nothing_labelled(), 1)
    assert (first.axis, first.plane) == (1, 20) and (plain.axis, plain.plane) != (1, 20)
    assert first.score < plain.score, "the score is what it resolves"


def test_every_class_has_the_same_uncertainty_however_rare():
    probabilities = np.zeros((2, 1, 2, 3), np.float32)
    probabilities[0, 0, 0] = [0.5, 0.5, 0]
    probabilities[0, 0, 1] = probabilities[1, 0, 0] = [1, 0, 0]
    probabilities[1, 0, 1] = [0.75, 0.25, 0]
    unsure = np.array([[[1.0, 0.2]], [[0.2, 0.8]]], np.float32)
    # Of class 0 the sum is 0.5 + 0.2 + 0.2 + 0.6 = 1.5, of class 1 it is 0.5 + 0.2 = 0.7, of class 2 nothing; a third of 2.2 each.
    by_hand = np.array([[[0.5 / 1.5 + 0.5 / 0.7, 0.2 / 1.5]], [[0.2 / 1.5, 0.6 / 1.5 + 0.2 / 0.7]]]) * 2.2 / 3
    np.testing.assert_allclose(weighed_by_class(unsure, probabilities), by_hand, rtol=1e-5)


def test_the_middle_is_worth_more_than_the_border():
    (first,) = suggest_slices(np.ones(SHAPE), nothing_labelled(), 1, axes=[0], reach=4)
    assert 6 < first.plane < 13


def test_distances_are_physical():
    unsure = np.zeros(SHAPE)
    unsure[8] = unsure[12] = 1
    (first,) = suggest_slices(unsure, nothing_labelled(), 1, axes=[0], spacing=(10, 1, 1), reach=4)
    assert first.plane in (8, 12), "a plane of thick voxels tells little about the one after the next"


def test_labelled_voxels_count_nothing():
    labelled = np.ones(SHAPE, bool)
    assert suggest_slices(np.ones(SHAPE), labelled, 5) == []


def test_only_the_axes_asked_for():
    unsure = np.random.default_rng(0).random(SHAPE)
    assert {each.axis for each in suggest_slices(unsure, nothing_labelled(), 6, axes=[1, 2])} <= {1, 2}


def test_no_slice_twice_and_the_best_first():
    unsure = np.random.default_rng(0).random(SHAPE)
    found = suggest_slices(unsure, nothing_labelled(), 12)
    assert len({(each.axis, each.plane) for each in found}) == 12
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
