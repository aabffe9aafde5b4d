"""evaluation: IoU and Dice against figures worked out by hand."""

import json

import numpy as np
import pytest

from keras_unet3d.evaluation.overlap import Counts, count, figures, means
from keras_unet3d.labels import UNLABELLED

U = UNLABELLED
NAMES = ("background", "lumen", "wall")


def counted(truth, predicted, num_classes=3):
    return count(np.array(truth, np.uint8), np.array(predicted, np.uint8), num_classes)


def lists(counts):
    return [counts.both.tolist(), counts.predicted.tolist(), counts.truth.tolist()]


# Voxel by voxel: right 0, 0 taken for 1, right 1, right 1, 1 taken for 2, right 2, and two that nobody labelled.
TRUTH = [[[0, 0, 1, 1], [1, 2, U, U]]]
PREDICTED = [[[0, 1, 1, 1], [2, 2, 0, 2]]]


def test_voxels_are_counted_where_they_are_labelled():
    counts = counted(TRUTH, PREDICTED)
    assert lists(counts) == [[1, 2, 1], [1, 3, 2], [2, 3, 1]]
    assert all(np.asarray(array).dtype == np.int64 for array in (counts.both, counts.predicted, counts.truth))


# The figures in the order in which they stand below.
KEYS = ("iou", "dice", "sensitivity", "precision", "volume_error")


def test_figures_by_hand():
    by_class = figures(counted(TRUTH, PREDICTED), NAMES)
    expected = {
        "background": (1 / 2, 2 / 3, 1 / 2, 1, -1 / 2),
        "lumen": (2 / 4, 4 / 6, 2 / 3, 2 / 3, 0),
        "wall": (1 / 2, 2 / 3, 1, 1 / 2, 1),
    }
    assert by_class == {name: pytest.approx(dict(zip(KEYS, row, strict=True))) for name, row in expected.items()}


@pytest.mark.parametrize(
    "truth, predicted, expected",
    [
        ([1, 1], [1, 1], (1.0, 1.0, 1.0, 1.0, 0.0)),
        ([1, 1], [0, 0], (0.0, 0.0, 0.0, None, -1.0)),
        ([0, 0], [1, 1], (0.0, 0.0, None, 0.0, None)),
        ([1, 1, 1, 0], [1, 0, 0, 1], (0.25, 0.4, 1 / 3, 0.5, -1 / 3)),
        ([0, 0], [0, 0], None),
        ([U, 0], [1, 0], None),
        ([U, U], [1, 0], None),
    ],
)
def test_figures_of_one_class(truth, predicted, expected):
    found = figures(counted(truth, predicted), NAMES)["lumen"]
    assert found == (expected and dict(zip(KEYS, expected, strict=True)))


def test_figures_are_plain_numbers():
    by_class = figures(counted(TRUTH, PREDICTED), NAMES)
    assert json.loads(json.dumps(by_class)) == by_class


def test_random_volumes_agree_with_sets_of_voxels():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, U], (5, 6, 7)).astype(np.uint8)
    predicted = rng.integers(0, 3, (5, 6, 7)).astype(np.uint8)
    by_class = figures(count(truth, predicted, 3), NAMES)
    for index, name in enumerate(NAMES):
        a, b = (truth == index), (predicted == index) & (truth != U)
        assert by_class[name]["iou"] == pytest.approx((a & b).sum() / (a | b).sum())
        assert by_class[name]["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_counts_of_parts_add_up_to_those_of_the_whole():
    parts = [counted(TRUTH[0][row], PREDICTED[0][row]) for row in range(2)]
    assert lists(parts[0] + parts[1]) == lists(counted(TRUTH, PREDICTED))


def test_counts_of_many_voxels_are_exact():
    big = np.array([2**40, 0])
    one = np.array([1, 0])
    total = Counts(big, big, big) + Counts(one, one, one)
    assert lists(total) == [[2**40 + 1, 0]] * 3


def test_labels_of_the_most_classes_are_counted():
    values = np.arange(64, dtype=np.uint8)
    counts = count(values, values[::-1], 64)
    assert counts.both.sum() == 0
    assert lists(counts)[1:] == [[1] * 64] * 2


BY_CLASS = {
    "background": {"iou": 0.9, "dice": 0.95},
    "lumen": {"iou": 0.5, "dice": 0.6},
    "wall": {"iou": 0.1, "dice": 0.2},
    "glomerulus": None,
}


@pytest.mark.parametrize(
    "background, iou, dice",
    [("background", 0.3, 0.4), ("wall", 0.7, 0.775), (None, 0.5, 1.75 / 3), ("glomerulus", 0.5, 1.75 / 3)],
)
def test_means_leave_out_the_background_and_what_is_absent(background, iou, dice):
    assert means(BY_CLASS, background) == {"mean_iou": pytest.approx(iou), "mean_dice": pytest.approx(dice)}


@pytest.mark.parametrize("by_class", [{"background": {"iou": 1.0, "dice": 1.0}, "lumen": None}, {"lumen": None}, {}])
def test_means_of_nothing_are_none(by_class):
    assert means(by_class, "background") == {"mean_iou": None, "mean_dice": None}
