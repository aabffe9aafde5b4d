"""IoU and Dice by hand; accumulated counts; exact beyond what float32 can count."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_unet3d import Dice, IoU, SampleWeightedSparseCrossentropy

# Truth 0 0 1 1 2, predicted 0 1 1 1 0: class 0 {1 both, 2, 2}, class 1 {2 both, 3, 2}, class 2 {0 both, 0, 1}.
TRUTH = np.array([0, 0, 1, 1, 2]).reshape(1, 1, 1, 5)
PREDICTED = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0]].reshape(1, 1, 1, 5, 3)
BY_HAND = {IoU: [1 / 3, 2 / 3, 0], Dice: [2 / 4, 4 / 5, 0]}

both = pytest.mark.parametrize("metric", [IoU, Dice])


@both
def test_by_hand(metric):
    figure = metric(3)
    figure.update_state(TRUTH, PREDICTED)
    np.testing.assert_allclose(figure.per_class(), BY_HAND[metric], rtol=1e-6)
    assert float(figure.result()) == pytest.approx(np.mean(BY_HAND[metric]))
    single = metric(3, class_id=1)
    single.update_state(TRUTH, PREDICTED)
    assert float(single.result()) == pytest.approx(BY_HAND[metric][1])
    without = metric(3, background=0)
    without.update_state(TRUTH, PREDICTED)
    assert float(without.result()) == pytest.approx(np.mean(BY_HAND[metric][1:]))


@both
def test_absent_classes_are_in_no_mean(metric):
    figure = metric(5)
    figure.update_state(TRUTH, np.pad(PREDICTED, [(0, 0)] * 4 + [(0, 2)]))
    assert float(figure.result()) == pytest.approx(np.mean(BY_HAND[metric]))


@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("more", [1, 1000, 100_000])
def test_unlabelled_voxels_have_no_part(metric, dtype, more):
    figure = metric(3)
    truth = np.concatenate([TRUTH, np.resize([255, -1, 2, 0], (1, 1, 1, more))], axis=-1)
    anything = np.resize([np.nan, np.inf, 0.2, 0.9], (1, 1, 1, more, 3))
    predicted = tf.concat([tf.cast(PREDICTED, dtype), tf.cast(anything, dtype)], axis=3)
    weights = np.concatenate([np.full(TRUTH.shape, 0.3), np.zeros((1, 1, 1, more))], axis=-1)
    figure.update_state(truth, predicted, weights)
    np.testing.assert_allclose(figure.per_class(), BY_HAND[metric], rtol=1e-6)
    assert float(figure.result()) == pytest.approx(np.mean(BY_HAND[metric]))


@both
def test_counts_add_up_over_batches_and_reset(metric):
    figure = metric(3)
    for voxel in range(5):
        figure.update_state(TRUTH[..., voxel : voxel + 1], PREDICTED[..., voxel : voxel + 1, :])
    np.testing.assert_allclose(figure.per_class(), BY_HAND[metric], rtol=1e-6)
    figure.reset_state()
    assert float(figure.result()) == 0


@both
def test_exact_beyond_float32(metric):
    figure = metric(2)
    truth = np.zeros((1, 256, 256, 256), np.uint8)
    right = np.zeros((1, 256, 256, 256, 2), np.float16)
    right[..., 0] = 1
    figure.update_state(truth, right)
    figure.update_state(truth, right)
    # 2**25 voxels counted; float32 could not add these three.
    figure.update_state(np.zeros((1, 1, 1, 3)), np.eye(2, dtype=np.float32)[[1, 1, 0]].reshape(1, 1, 1, 3, 2))
    high, low = np.asarray(figure.counts)
    total = high.astype(np.int64) * 2**20 + low
    np.testing.assert_array_equal(total, [[2**25 + 1, 0], [2**25 + 1, 2], [2**25 + 3, 0]])


@both
def test_inside_a_graph_equals_eager(metric):
    eager, traced = metric(3), metric(3)
    eager.update_state(TRUTH, PREDICTED)
    tf.function(lambda: traced.update_state(TRUTH, PREDICTED))()
    assert float(eager.result()) == float(traced.result()) > 0


@both
def test_round_trip(metric):
    again = keras.metrics.deserialize(keras.metrics.serialize(metric(4, class_id=2, name="mine", background=1)))
    assert type(again) is metric
    assert (again.num_classes, again.class_id, again.name, again.background) == (4, 2, "mine", 1)


@both
def test_a_class_that_is_none_is_refused(metric):
    with pytest.raises(ValueError, match="class_id: expected 0 to 1, found 2"):
        metric(2, class_id=2)
    with pytest.raises(ValueError, match="background: expected 0 to 1, found 2"):
        metric(2, background=2)


@both
def test_keras_evaluates_it_as_a_weighted_metric(metric):
    inputs = keras.Input((1, 1, 5, 3))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=SampleWeightedSparseCrossentropy(), weighted_metrics=[metric(3, name="overlap")])
    weights = np.array([1, 1, 1, 1, 0], np.float32).reshape(TRUTH.shape)
    data = tf.data.Dataset.from_tensors((PREDICTED, TRUTH, weights)).repeat(2)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    # Without the last voxel: class 0 {1 both, 1, 2}, class 1 {2 both, 3, 2}, class 2 absent.
    expected = {IoU: (1 / 2 + 2 / 3) / 2, Dice: (2 / 3 + 4 / 5) / 2}[metric]
    assert logs["overlap"] == pytest.approx(expected)
