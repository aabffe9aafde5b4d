"""Labels, weights and predictions that are none, refused by the loss and the metrics alike where they can be read."""

import numpy as np
import pytest
import tensorflow as tf

from keras_unet3d import Dice, InputError, IoU, SampleWeightedSparseCrossentropy

P = np.full((1, 1, 1, 3, 2), 0.5, np.float32)
Y = np.array([0, 1, 1], np.int32).reshape(1, 1, 1, 3)
W = np.array([1, 2, 0], np.float32).reshape(1, 1, 1, 3)


def labels(*values):
    return np.array(values).reshape(1, 1, 1, 3)


everybody = pytest.mark.parametrize(
    "call",
    [SampleWeightedSparseCrossentropy(), IoU(2).update_state, Dice(2).update_state],
    ids=["loss", "IoU", "Dice"],
)


@everybody
@pytest.mark.parametrize("eager", [lambda values: values, tf.convert_to_tensor], ids=["array", "tensor"])
@pytest.mark.parametrize(
    ("y", "w", "sentence"),
    [
        (Y, -W, "sample_weight: expected finite numbers of at least 0, found -1.0."),
        (Y, labels(1, np.nan, 0), "sample_weight: expected finite numbers of at least 0, found nan."),
        (Y, labels(1, np.inf, 0), "sample_weight: expected finite numbers of at least 0, found inf."),
        (
            labels(0, 2, 1),
            W,
            "y_true: expected whole numbers from 0 to 1, the classes, where the weight is above 0; found 2.",
        ),
        (
            labels(0, -1, 1),
            W,
            "y_true: expected whole numbers from 0 to 1, the classes, where the weight is above 0; found -1.",
        ),
        (
            labels(0, 0.5, 1),
            W,
            "y_true: expected whole numbers from 0 to 1, the classes, where the weight is above 0; found 0.5.",
        ),
        (
            labels(0, np.nan, 1),
            W,
            "y_true: expected whole numbers from 0 to 1, the classes, where the weight is above 0; found nan.",
        ),
        (labels(0, 1j, 1), W, "y_true: expected an array of numbers, found one of complex128."),
        (labels("0", "1", "1"), W, "y_true: expected an array of numbers, found one of string."),
    ],
)
def test_values_that_are_none_are_refused(call, eager, y, w, sentence):
    with pytest.raises(InputError) as caught:
        call(eager(y), P, eager(w))
    assert str(caught.value) == sentence


@everybody
@pytest.mark.parametrize(
    ("y", "p", "sentence"),
    [
        (None, P, "y_true: expected an array of numbers, found None."),
        (Y, "p", "y_pred: expected an array of numbers, found one of string."),
        (Y, {}, "y_pred: expected an array of numbers, found {}."),
        (Y, 5, "y_pred: expected shape (batch, z, y, x, classes), found ()."),
    ],
)
def test_what_is_no_array_is_refused(call, y, p, sentence):
    with pytest.raises(InputError) as caught:
        call(y, p)
    assert str(caught.value) == sentence


@everybody
@pytest.mark.parametrize("y", [labels(0, 1, 255), labels(0, 1, -1), labels(0, 1, 0.5), labels(0, 1, np.nan)])
def test_unlabelled_voxels_may_hold_anything(call, y):
    call(y, P, W)


def test_ignored_voxels_may_hold_anything():
    loss = SampleWeightedSparseCrossentropy(ignore_label=255)
    assert float(loss(labels(0, 1, 255), P, labels(1, 1, np.nan))) == pytest.approx(np.log(2))


def test_a_graph_cannot_read_and_says_it_by_nan():
    graph = tf.function(SampleWeightedSparseCrossentropy())
    tensors = [tf.constant(values) for values in (labels(0, 2, 1), P, W)]
    assert np.isnan(graph(*tensors))


@pytest.mark.parametrize("metric", [IoU, Dice])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(num_classes=0), "num_classes: expected a whole number from 1 to 4096, found 0."),
        (dict(num_classes=10**30), f"num_classes: expected a whole number from 1 to 4096, found {10**30}."),
        (dict(num_classes="2"), "num_classes: expected a whole number, found '2'."),
        (dict(num_classes=2, class_id=2), "class_id: expected 0 to 1, found 2."),
        (dict(num_classes=2, class_id="a"), "class_id: expected a whole number, found 'a'."),
        (dict(num_classes=2, name=5), "name: expected a text, found 5."),
    ],
)
def test_what_is_no_metric_is_refused(metric, arguments, sentence):
    with pytest.raises(InputError) as caught:
        metric(**arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("metric", [IoU, Dice])
def test_predictions_of_other_classes_are_refused(metric):
    sentence = r"y_pred: expected predictions of 3 classes, the metric's `num_classes`; found shape \(1, 1, 1, 3, 2\)"
    with pytest.raises(InputError, match=sentence):
        metric(np.int64(3)).update_state(Y, P)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(from_logits="no"), "from_logits: expected true or false, found 'no'."),
        (dict(class_weights=5), "class_weights: expected a list of finite numbers, found 5."),
        (dict(class_weights={0: 1}), "class_weights: expected a list of finite numbers, found {0: 1}."),
        (dict(class_weights=[1, np.nan]), "class_weights: expected a list of finite numbers, found [1, nan]."),
        (dict(ignore_label=0.5), "ignore_label: expected a whole number, found 0.5."),
        (dict(ignore_label=2**40), f"ignore_label: expected a label, a whole number of 32 bits; found {2**40}."),
        (dict(dice_weight=-1), "dice_weight: expected a number of at least 0, found -1."),
        (dict(dice_weight=int), "dice_weight: expected a finite number, found the class int."),
    ],
)
def test_what_is_no_loss_is_refused(arguments, sentence):
    with pytest.raises(InputError) as caught:
        SampleWeightedSparseCrossentropy(**arguments)
    assert str(caught.value) == sentence


def test_computed_class_weights_count_as_if_they_were_written():
    loss = SampleWeightedSparseCrossentropy(class_weights=np.float32([1, 2]), ignore_label=np.uint8(9))
    assert loss.class_weights == [1, 2] and type(loss.ignore_label) is int


@pytest.mark.parametrize("call", [SampleWeightedSparseCrossentropy(), IoU(2).update_state])
def test_labels_without_a_rank_are_taken(call):
    # What Keras traces when a second fit has labels of another rank than the first.
    unknown = tf.function(lambda y, p: call(y, p), [tf.TensorSpec(None), tf.TensorSpec([None, 1, 1, 3, 2])])
    value = unknown(Y[..., None].astype(np.float32), P)
    assert value is None or float(value) == pytest.approx(np.log(2))
