"""The loss against values computed by hand, and what must not reach it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_unet3d import SampleWeightedSparseCrossentropy

P = np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]], np.float32).reshape(1, 1, 1, 3, 2)
Y = np.array([0, 1, 1], np.int32).reshape(1, 1, 1, 3)
W = np.array([1, 2, 0], np.float32).reshape(1, 1, 1, 3)


def value_and_gradient(loss, y, p, w=None):
    p = tf.Variable(p)
    with tf.GradientTape() as tape:
        value = loss(y, p, w)
    return float(value), tf.cast(tape.gradient(value, p), "float32").numpy()


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("trailing", [False, True])
def test_weighted_mean_by_hand(from_logits, trailing):
    loss = SampleWeightedSparseCrossentropy(from_logits=from_logits)
    y, w = (a[..., None] if trailing else a for a in (Y, W))
    expected = (-np.log(0.7) - 2 * np.log(0.8)) / 3
    assert float(loss(y, np.log(P) if from_logits else P, w)) == pytest.approx(expected, rel=1e-6)


def test_without_weights_every_voxel_counts_once():
    expected = -(np.log(0.7) + np.log(0.8) + np.log(0.5)) / 3
    assert float(SampleWeightedSparseCrossentropy()(Y, P)) == pytest.approx(expected, rel=1e-6)


def test_class_weights_multiply_voxel_weights_and_stand_in_the_denominator_too():
    loss = SampleWeightedSparseCrossentropy(class_weights=[3, 0.5])
    expected = (-3 * np.log(0.7) - 2 * 0.5 * np.log(0.8)) / (3 + 2 * 0.5)
    assert float(loss(Y, P, W)) == pytest.approx(expected, rel=1e-6)


def test_ignore_label():
    loss = SampleWeightedSparseCrossentropy(ignore_label=1)
    assert float(loss(Y, P)) == pytest.approx(-np.log(0.7), rel=1e-6)


def test_gradient_by_hand():
    # d/dp of (-ln p0 - 2 ln p1) / 3 at the true classes; nothing at the voxel of weight 0.
    _, gradient = value_and_gradient(SampleWeightedSparseCrossentropy(), Y, P, W)
    expected = np.array([[-1 / 0.7 / 3, 0], [0, -2 / 0.8 / 3], [0, 0]])
    np.testing.assert_allclose(gradient[0, 0, 0], expected, rtol=1e-6)


def unlabelled(more, classes, dtype, batch=1):
    """Return `more` voxels of weight 0: labels that are no class, predictions that are no number or anything."""
    y = np.resize([-1, 7, 255, 1], (batch, 1, 1, more))
    p = np.resize([np.nan, np.inf, -np.inf, 1e4, 0.3], (batch, 1, 1, more, classes))
    return y, tf.cast(p, dtype), np.zeros((batch, 1, 1, more), np.float32)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dice", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("more", [1, 500, 100_000])
def test_unlabelled_voxels_have_no_part(from_logits, dice, dtype, more):
    loss = SampleWeightedSparseCrossentropy(from_logits=from_logits, dice_weight=dice, class_weights=[1, 2])
    p = tf.cast(P, dtype)
    value, gradient = value_and_gradient(loss, Y, p, W)
    added = unlabelled(more, 2, dtype)
    y, p, w = (tf.concat([each, other], axis=3) for each, other in zip((Y, p, W), added, strict=True))
    with_more, its_gradient = value_and_gradient(loss, y, p, w)
    assert value > 0.1 and abs(gradient).max() > 0.1
    assert with_more == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(its_gradient[..., :3, :], gradient, atol=1e-6)
    np.testing.assert_array_equal(its_gradient[..., 3:, :], 0)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_volume_without_labels_in_the_batch_has_no_part(from_logits, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 5, 6, 3)) * 3
    p = tf.cast(logits if from_logits else tf.nn.softmax(logits), dtype)
    y, w = rng.integers(0, 3, (2, 4, 5, 6)), rng.uniform(0, 2, (2, 4, 5, 6)).astype(np.float32)
    loss = SampleWeightedSparseCrossentropy(from_logits=from_logits, dice_weight=1.0)
    value, gradient = value_and_gradient(loss, y, p, w)
    twice = value_and_gradient(
        loss, tf.concat([y, y + 9], 0), tf.concat([p, p * np.nan], 0), tf.concat([w, np.zeros_like(w)], 0)
    )
    assert twice[0] == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(twice[1][:2], gradient, atol=1e-6)
    np.testing.assert_array_equal(twice[1][2:], 0)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dice", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nothing_labelled_is_zero_with_a_zero_gradient(from_logits, dice, dtype):
    loss = SampleWeightedSparseCrossentropy(from_logits=from_logits, dice_weight=dice)
    p = tf.Variable(tf.cast(np.full(P.shape, np.nan), dtype))
    with tf.GradientTape() as tape:
        value = loss(Y, p, np.zeros_like(W))
    assert value.dtype == tf.float32
    assert float(value) == 0
    np.testing.assert_array_equal(tf.cast(tape.gradient(value, p), "float32"), 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_predictions_are_computed_in_float32(dtype):
    logits = np.random.default_rng(0).normal(size=(2, 4, 4, 4, 3)) * 4
    y = np.random.default_rng(1).integers(0, 3, (2, 4, 4, 4))
    half = tf.cast(logits, dtype)
    exact = SampleWeightedSparseCrossentropy(from_logits=True)
    assert float(exact(y, half)) == pytest.approx(float(exact(y, tf.cast(half, "float32"))), rel=1e-6)


def test_stable_for_extreme_logits_and_probabilities():
    y = np.zeros((1, 1, 1, 1), np.int32)
    logits = np.array([-200.0, 200.0], np.float32).reshape(1, 1, 1, 1, 2)
    value, gradient = value_and_gradient(SampleWeightedSparseCrossentropy(from_logits=True), y, logits)
    assert value == pytest.approx(400)
    np.testing.assert_allclose(gradient.ravel(), [-1, 1], atol=1e-6)
    value, gradient = value_and_gradient(
        SampleWeightedSparseCrossentropy(), y, np.array([0.0, 1.0], np.float32).reshape(1, 1, 1, 1, 2)
    )
    assert np.isfinite(value) and value > 80
    assert np.isfinite(gradient).all()


def test_logits_and_probabilities_agree():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 4)).astype(np.float32) * 5
    y = np.random.default_rng(1).integers(0, 4, (2, 3, 4, 5))
    w = np.random.default_rng(2).uniform(0, 2, (2, 3, 4, 5))
    from_logits = SampleWeightedSparseCrossentropy(from_logits=True, dice_weight=1.0)(y, logits, w)
    from_probabilities = SampleWeightedSparseCrossentropy(dice_weight=1.0)(y, ops.softmax(logits), w)
    assert float(from_logits) == pytest.approx(float(from_probabilities), rel=1e-5)


def test_dice_by_hand():
    # Labelled: voxels 0 and 1. Class 0: 2 * 0.7 / (1 + 0.9); class 1: 2 * 0.8 / (1 + 1.1).
    crossentropy = SampleWeightedSparseCrossentropy()(Y, P, W)
    both = SampleWeightedSparseCrossentropy(dice_weight=0.5)(Y, P, W)
    dice = 1 - (2 * 0.7 / 1.9 + 2 * 0.8 / 2.1) / 2
    assert float(both) - float(crossentropy) == pytest.approx(0.5 * dice, rel=1e-5)


def test_dice_is_over_the_classes_that_are_present():
    p = np.array([[0.6, 0.3, 0.1]], np.float32).reshape(1, 1, 1, 1, 3)
    y = np.zeros((1, 1, 1, 1), np.int32)
    dice = SampleWeightedSparseCrossentropy(dice_weight=1.0)(y, p) - SampleWeightedSparseCrossentropy()(y, p)
    assert float(dice) == pytest.approx(1 - 2 * 0.6 / 1.6, rel=1e-5)


@pytest.mark.parametrize(
    ("y", "w", "named"),
    [
        (Y, np.ones((1, 1, 1, 1), np.float32), "sample_weight"),
        (Y, np.ones((1,), np.float32), "sample_weight"),
        (Y, np.ones((1, 1, 1, 3, 2), np.float32), "sample_weight"),
        (Y[..., :2], None, "y_true"),
        (np.zeros((1, 1, 1, 3, 2), np.int32), None, "y_true"),
    ],
)
def test_other_shapes_are_refused(y, w, named):
    with pytest.raises(ValueError, match=rf"{named}: expected one value per voxel, shape \(1, 1, 1, 3\)"):
        SampleWeightedSparseCrossentropy()(y, P, w)


def test_shapes_unknown_while_tracing_are_checked_when_running():
    loss = SampleWeightedSparseCrossentropy()
    unknown = tf.TensorSpec([None] * 4, tf.float32)
    traced = tf.function(lambda y, p, w: loss(y, p, w), [unknown, tf.TensorSpec([None] * 4 + [2]), unknown])
    expected = float(loss(Y, P, W))
    assert float(traced(Y.astype(np.float32), P, W)) == pytest.approx(expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        traced(Y.astype(np.float32), P, W[..., :1])


@pytest.mark.parametrize("weights", [[1, 2, 3], [1]])
def test_class_weights_must_fit_the_classes(weights):
    with pytest.raises(ValueError, match="class_weights: expected one per class, 2; found"):
        SampleWeightedSparseCrossentropy(class_weights=weights)(Y, P, W)


def test_negative_class_weights_are_refused():
    with pytest.raises(ValueError, match="class_weights: expected numbers of at least 0"):
        SampleWeightedSparseCrossentropy(class_weights=[1, -1])


def test_round_trip():
    loss = SampleWeightedSparseCrossentropy(True, [1, 2], 7, 0.5, name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, SampleWeightedSparseCrossentropy)
    assert again.get_config() == loss.get_config()


def test_keras_fit_uses_it_with_weights(tmp_path):
    inputs = keras.Input((1, 1, 3, 2))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=SampleWeightedSparseCrossentropy(), optimizer="sgd")
    data = tf.data.Dataset.from_tensors((P, Y, W))
    assert model.evaluate(data, verbose=0) == pytest.approx((-np.log(0.7) - 2 * np.log(0.8)) / 3, rel=1e-6)
    model.save(tmp_path / "compiled.keras")
    loaded = keras.models.load_model(tmp_path / "compiled.keras")
    assert loaded.evaluate(data, verbose=0) == pytest.approx((-np.log(0.7) - 2 * np.log(0.8)) / 3, rel=1e-6)


def test_weights_that_are_divided_already():
    y, p = np.array([[[[0, 1]]]]), np.array([[[[[0.5, 0.5], [0.75, 0.25]]]]], "float32")
    w = np.array([[[[0.5, 0.25]]]], "float32")
    loss = SampleWeightedSparseCrossentropy(normalize=False, class_weights=[1, 2])
    assert float(loss(y, p, w)) == pytest.approx(0.5 * np.log(2) + 2 * 0.25 * np.log(4), rel=1e-6)
    assert SampleWeightedSparseCrossentropy.from_config(loss.get_config()).normalize is False
