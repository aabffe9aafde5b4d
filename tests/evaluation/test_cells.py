"""Figures of instances by hand, against scikit-image, and against the assignment that StarDist solves."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from skimage import metrics

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.cells import THRESHOLDS, adapted_rand_error, common, matches, variation_of_information


def volumes(seed):
    """A truth of instances, and a prediction that is somewhat like it."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(rng.integers(0, 9, (4, 5, 6)), 3, axis=0), 2, axis=2)
    predicted = np.where(rng.random(truth.shape) < 0.75, truth * 3, rng.integers(0, 30, truth.shape))
    return truth.astype(np.uint16), predicted.astype(np.uint32)


@pytest.mark.parametrize("seed", range(4))
def test_which_voxels_belong_together_as_in_scikit_image(seed):
    truth, predicted = volumes(seed)
    pairs = common(truth, predicted, unlabelled=[3])
    ignored = (0, 3)
    expected = metrics.adapted_rand_error(truth.astype(int), predicted.astype(int), ignore_labels=ignored)[0]
    assert adapted_rand_error(pairs) == pytest.approx(expected)
    expected = metrics.variation_of_information(truth.astype(int), predicted.astype(int), ignore_labels=ignored)
    assert variation_of_information(pairs) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("seed", range(4))
def test_found_instances_are_those_of_the_best_assignment(seed):
    truth, predicted = volumes(seed)
    found = matches(common(truth, predicted))
    overlap = np.array(
        [
            [
                ((truth == t) & (predicted == p)).sum() / ((truth == t) | (predicted == p)).sum()
                for p in np.unique(predicted)[1:]
            ]
            for t in np.unique(truth)[1:]
        ]
    )
    for threshold, count in zip(THRESHOLDS, found.found, strict=True):
        # StarDist's matching: as many pairs above the threshold as can be, and of those the best overlaps.
        enough = overlap >= threshold
        rows, columns = linear_sum_assignment(-(enough + overlap / (2 * min(overlap.shape))))
        assert count == enough[rows, columns].sum()
        if threshold == THRESHOLDS[0]:
            assert found.overlap == pytest.approx(overlap[rows, columns][enough[rows, columns]].sum())
    assert (found.truth, found.predicted) == overlap.shape


def test_figures_by_hand():
    # The first is found with 3 of 4 voxels, the second split in halves of which one is enough, the third missed.
    truth = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0, 0])
    predicted = np.array([7, 7, 7, 0, 5, 5, 6, 6, 0, 0, 8, 8, 0])
    found = matches(common(truth, predicted))
    assert found.found.tolist() == [2, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    figures = found.figures
    assert (figures["found"], figures["instances"], figures["predicted_instances"]) == (2, 3, 4)
    assert figures["average_precision_50"] == pytest.approx(2 / (2 + 1 + 2))
    assert figures["average_precision"] == pytest.approx((2 / 5 + 5 * 1 / 6) / 10)
    assert figures["f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert figures["panoptic_quality"] == pytest.approx((0.75 + 0.5) / (2 + 0.5 * (1 + 2)))
    # Two volumes together are no mean of the two.
    both = (found + matches(common(truth[:4], truth[:4]))).figures
    assert both["average_precision_50"] == pytest.approx(3 / (3 + 1 + 2))
    # Of the pairs of voxels in one instance of the prediction (6) a third, of those in one of the truth (2) all are right.
    truth, predicted = np.array([1, 1, 2, 2, 0, 9], np.uint8), np.array([4, 4, 4, 4, 7, 8], np.uint8)
    pairs = common(truth, predicted, [9])
    assert adapted_rand_error(pairs) == pytest.approx(1 - 2 * (1 / 3) / (1 / 3 + 1))
    assert variation_of_information(pairs) == pytest.approx((0, 1))
    assert variation_of_information(common(predicted, truth, [7, 8])) == pytest.approx((1, 0))


def test_what_is_not_labelled_counts_nowhere():
    # Of the predicted 5 two of three voxels are not labelled, of 6 one of three.
    truth = np.array([1, 1, 9, 0, 9, 9, 0, 0, 9])
    predicted = np.array([4, 4, 4, 5, 5, 5, 6, 6, 6])
    found = matches(common(truth, predicted, [9])).figures
    assert (found["found"], found["instances"], found["predicted_instances"]) == (1, 1, 2)
    assert found["panoptic_quality"] == pytest.approx(1 / (1 + 0.5))


def test_another_background_than_0():
    truth = np.array([7, 7, 0, 0, 3])
    found = matches(common(truth, np.array([0, 0, 1, 1, 2]), background=7))
    assert found.figures["average_precision"] == 1 and found.truth == 2


def test_nothing_at_all_has_no_figures():
    nothing = common(np.array([0, 9]), np.array([0, 2]), [9])
    assert adapted_rand_error(nothing) is None and variation_of_information(nothing) is None
    found = matches(nothing).figures
    assert found["f1"] is None and found["instances"] == 0
    truth = np.array([1, 1])
    assert adapted_rand_error(common(truth, truth)) == 0 and matches(common(truth, truth * 0)).figures["f1"] == 0


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (np.zeros((2, 3), int), r"instances: expected volumes of one shape, found \(2, 3\) and \(2, 2\)"),
        (np.zeros((2, 2)), "instances: expected whole numbers, found float64"),
    ],
)
def test_bad_volumes_are_explained(truth, sentence):
    with pytest.raises(InputError, match=sentence):
        common(truth, np.zeros((2, 2), int))
