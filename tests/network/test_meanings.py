"""Labels that say something else than one class: loss and metrics against values computed by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import says

from keras_unet3d import Dice, InputError, IoU, SampleWeightedSparseCrossentropy
from keras_unet3d.evaluation.overlap import count

# Three classes; label 3 may be class 0 or class 2, as the background of a volume where only class 1 was looked for.
PARTLY = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, -1]]
P = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]], np.float32).reshape(1, 1, 1, 4, 3)
Y = np.array([3, 1, 3, 2], np.int32).reshape(1, 1, 1, 4)
W = np.array([1, 2, 1, 0], np.float32).reshape(1, 1, 1, 4)

# Raw values 0, 1 and 2 are labels 0, 1 and 2; the whole is 1 and 2, the core 2 alone.
REGIONS = [[0, 0], [1, 0], [1, 1]]
Q = np.array([[0.2, 0.1], [0.9, 0.4], [0.4, 0.8]], np.float32).reshape(1, 1, 1, 3, 2)
R = np.array([0, 1, 2], np.int32).reshape(1, 1, 1, 3)


@pytest.mark.parametrize("from_logits", [False, True])
def test_what_may_be_of_several_classes_costs_their_summed_probability(from_logits):
    loss = SampleWeightedSparseCrossentropy(from_logits, meanings=PARTLY)
    expected = (-np.log(0.5 + 0.3) - 2 * np.log(0.6) - np.log(0.2 + 0.1)) / 4
    assert float(loss(Y, np.log(P) if from_logits else P, W)) == pytest.approx(expected, rel=1e-6)


def test_its_gradient_by_hand():
    logits, y = tf.Variable(np.log(P[:, :, :, :1])), Y[..., :1]
    with tf.GradientTape() as tape:
        value = SampleWeightedSparseCrossentropy(True, meanings=PARTLY)(y, logits)
    # d/dx of -log(p0 + p2) is p - p0 / (p0 + p2) at class 0, likewise at class 2, and p at class 1.
    expected = [0.5 - 0.5 / 0.8, 0.2, 0.3 - 0.3 / 0.8]
    np.testing.assert_allclose(tape.gradient(value, logits).numpy().ravel(), expected, rtol=1e-5)


def test_a_table_that_says_what_is_so_anyway_changes_nothing():
    y, p = np.random.default_rng(0).integers(0, 3, (1, 4, 4, 4)), np.random.default_rng(1).random((1, 4, 4, 4, 3))
    plain, told = (SampleWeightedSparseCrossentropy(dice_weight=1.0, meanings=m) for m in (None, np.eye(3, dtype=int)))
    assert float(plain(y, p)) == pytest.approx(float(told(y, p)), rel=1e-6)


def test_soft_dice_leaves_out_what_is_not_known():
    loss = SampleWeightedSparseCrossentropy(meanings=PARTLY, dice_weight=1.0)
    crossentropy = float(SampleWeightedSparseCrossentropy(meanings=PARTLY)(Y, P, W))
    # Class 1 is known everywhere: truth at the second voxel alone. Classes 0 and 2 are in no truth that is known.
    dice = 2 * 0.6 / (1 + 0.2 + 0.6 + 0.7)
    assert float(loss(Y, P, W)) - crossentropy == pytest.approx(1 - dice, rel=1e-5)


def test_one_class_weight_per_label():
    loss = SampleWeightedSparseCrossentropy(meanings=PARTLY, class_weights=[1, 3, 1, 0.5])
    expected = (-0.5 * np.log(0.8) - 6 * np.log(0.6) - 0.5 * np.log(0.3)) / (0.5 + 6 + 0.5)
    assert float(loss(Y, P, W)) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InputError, match=says("class_weights: expected one per class, 4; found 3")):
        SampleWeightedSparseCrossentropy(meanings=PARTLY, class_weights=[1, 3, 1])(Y, P, W)


@pytest.mark.parametrize("from_logits", [False, True])
def test_overlapping_classes_have_a_binary_crossentropy_each(from_logits):
    loss = SampleWeightedSparseCrossentropy(from_logits, meanings=REGIONS, overlapping=True)
    voxels = [-np.log(0.8 * 0.9) / 2, -np.log(0.9 * 0.6) / 2, -np.log(0.4 * 0.8) / 2]
    w = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    expected = (voxels[0] + 2 * voxels[1] + 3 * voxels[2]) / 6
    p = np.log(Q / (1 - Q)) if from_logits else Q
    assert float(loss(R, p, w)) == pytest.approx(expected, rel=1e-5)


def test_soft_dice_of_overlapping_classes():
    plain, both = (
        SampleWeightedSparseCrossentropy(meanings=REGIONS, overlapping=True, dice_weight=w) for w in (0.0, 1.0)
    )
    whole, core = 2 * (0.9 + 0.4) / (2 + 1.5), 2 * 0.8 / (1 + 1.3)
    assert float(both(R, Q)) - float(plain(R, Q)) == pytest.approx(1 - (whole + core) / 2, rel=1e-5)


def test_a_class_that_is_not_known_has_no_part_in_the_mean_over_overlapping_classes():
    loss = SampleWeightedSparseCrossentropy(meanings=[[0, -1], [1, 0], [1, 1]], overlapping=True)
    expected = (-np.log(0.8) - np.log(0.9 * 0.6) / 2 - np.log(0.4 * 0.8) / 2) / 3
    assert float(loss(R, Q)) == pytest.approx(expected, rel=1e-5)


def test_unlabelled_voxels_reach_neither_value_nor_gradient():
    for loss, p, y in (
        (SampleWeightedSparseCrossentropy(True, meanings=PARTLY, dice_weight=1.0), P, Y),
        (SampleWeightedSparseCrossentropy(True, meanings=REGIONS, overlapping=True, dice_weight=1.0), Q, R),
    ):
        w = np.zeros(y.shape, np.float32)
        w[..., 0] = 1
        spoilt = tf.Variable(np.where(w[..., None] > 0, p, np.nan).astype(np.float32))
        with tf.GradientTape() as tape:
            value = loss(np.where(w > 0, y, 77), spoilt, w)
        gradient = tape.gradient(value, spoilt).numpy()
        assert float(value) == pytest.approx(float(loss(y[..., :1], p[..., :1, :], w[..., :1])), rel=1e-5)
        assert np.isfinite(gradient).all() and not gradient[..., 1:, :].any()


def test_figures_count_only_what_is_known():
    # Predicted: 0, 1, 1, 2. Label 3 says of class 1 alone that it is not there: the third voxel is wrong for class 1.
    iou = IoU(3, meanings=PARTLY)
    iou.update_state(Y, P)
    np.testing.assert_allclose(iou.per_class(), [0, 1 / 2, 1])
    dice = Dice(3, meanings=PARTLY, class_id=1)
    dice.update_state(Y, P, W)
    assert float(dice.result()) == pytest.approx(2 / 3)


def test_figures_of_overlapping_classes():
    # Whole: truth at the last two, predicted at the second. Core: truth and prediction at the last one.
    for threshold, p in ((0.5, Q), (0.0, np.log(Q / (1 - Q)))):
        iou = IoU(2, meanings=REGIONS, threshold=threshold)
        iou.update_state(R, p)
        np.testing.assert_allclose(iou.per_class(), [1 / 2, 1])


def test_counts_of_arrays_agree_with_the_metrics():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 4, (1, 5, 6, 7)), rng.random((1, 5, 6, 7, 3)).astype(np.float32)
    for threshold, predicted in ((None, p.argmax(-1)), (0.5, p > 0.5)):
        iou = IoU(3, meanings=PARTLY, threshold=threshold)
        iou.update_state(y, p)
        counts = count(y, predicted, 3, np.array(PARTLY))
        expected = counts.both / (counts.predicted + counts.truth - counts.both)
        np.testing.assert_allclose(iou.per_class(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        SampleWeightedSparseCrossentropy(meanings=PARTLY),
        SampleWeightedSparseCrossentropy(meanings=REGIONS, overlapping=True),
        IoU(3, meanings=PARTLY),
        Dice(2, meanings=REGIONS, threshold=0.0),
    ],
)
def test_they_are_the_same_after_a_round_trip(made):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.get_config() == made.get_config()
    y, p = (Y, P) if len(made.meanings) == 4 else (R, Q)
    if isinstance(made, keras.Loss):
        assert float(again(y, p)) == float(made(y, p))
    else:
        again.update_state(y, p), made.update_state(y, p)
        assert float(again.result()) == float(made.result()) > 0


def test_in_a_graph_a_label_beyond_the_table_makes_the_loss_nan():
    loss = tf.function(SampleWeightedSparseCrossentropy(meanings=PARTLY))
    assert np.isnan(float(loss(tf.constant(np.where(Y == 2, 4, Y)), tf.constant(P))))
    assert np.isfinite(float(loss(tf.constant(Y), tf.constant(P))))


@pytest.mark.parametrize("meanings", [[], [[1, 0], [1]], [[2, 0]], [[]]])
def test_a_table_that_is_none_is_refused(meanings):
    with pytest.raises(InputError, match=says("meanings: expected a row per label")):
        SampleWeightedSparseCrossentropy(meanings=meanings)


def test_a_table_of_other_classes_is_refused():
    with pytest.raises(InputError, match=says("meanings: expected a column per class, 3; found 2")):
        SampleWeightedSparseCrossentropy(meanings=REGIONS)(Y, P)
    with pytest.raises(InputError, match=says("y_true: expected whole numbers from 0 to 3", "found 4")):
        SampleWeightedSparseCrossentropy(meanings=PARTLY)(Y + 1, P)
