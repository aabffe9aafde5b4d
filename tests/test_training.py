"""What is kept of a training: the best and the last network, and nothing once the loss has left the numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_unet3d
from keras_unet3d.pipeline import Waiting
from keras_unet3d.training import Callbacks, Feed, Schedule, Shown, train

X = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
Y = (X[..., 0] > 0).astype(np.int32)
W = np.ones(Y.shape, np.float32)
SILENT = Callbacks(lambda line: None, lambda done, of: None)


def trained(tmp_path, epochs=3, weights=W, rate=1e-2, callbacks=SILENT, waiting=None):
    model = keras_unet3d.build_model(base_filters=2, depth=2, seed=0)
    data = tf.data.Dataset.from_tensors((X, Y, weights))
    origin = "of stack.h5 at {}".format
    feed = Feed(lambda first: data.repeat(), data, waiting or Waiting(), None, "use --engine native", origin)
    schedule = Schedule(epochs, 4, rate, "crossentropy+dice")
    shown = Shown((X[0], Y[0], W[0]), ("below", "above"), None)
    rows = train(model, feed, shown, schedule, tmp_path, callbacks)
    return model, {name: [row[name] for row in rows] for name in rows[0]}


def test_learns_and_keeps_the_best_and_the_last(tmp_path):
    model, history = trained(tmp_path, epochs=5)
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_iou"][-1] > 0.5
    last, best = (keras.models.load_model(tmp_path / name) for name in ("last.keras", "model.keras"))
    np.testing.assert_array_equal(last(X), model(X))
    iou = keras_unet3d.IoU(2)
    iou.update_state(Y, best(X, training=False), W)
    assert float(iou.result()) == pytest.approx(max(history["val_iou"]), abs=1e-6)


def test_files_and_lines(tmp_path):
    said, steps = [], []
    _, history = trained(tmp_path, callbacks=Callbacks(said.append, lambda done, of: steps.append((done, of))))
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.keras",
        "last.keras",
        "history.csv",
        "curves.png",
        "slices.png",
        "logs",
        "backup",
    }
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 3
    assert [line.split()[1] for line in said] == ["1/3", "2/3", "3/3"]
    assert f"loss {history['loss'][0]:.3f}" in said[0]
    assert steps == [(step, 12) for step in range(1, 13)]


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_good(tmp_path):
    with pytest.raises(
        FloatingPointError,
        match=r"epoch 1, step 1: the loss is (nan|inf) on the batch of stack.h5 at 0; .* lower --learning-rate",
    ):
        trained(tmp_path, weights=np.full(W.shape, np.inf, np.float32))
    assert not (tmp_path / "model.keras").exists()


class Clock(Waiting):
    """Has waited a very long time whenever it is asked, or not at all."""

    def __init__(self, waited):
        self.waited = waited

    @property
    def seconds(self):
        return self.waited

    @seconds.setter
    def seconds(self, value):
        pass


def test_what_was_waited_for_is_kept_and_advised_once(tmp_path):
    said = []
    _, history = trained(tmp_path, callbacks=Callbacks(said.append, lambda done, of: None), waiting=Clock(1e9))
    assert history["waiting"] == [1.0] * 3
    assert [line for line in said if line.startswith("input:")] == [
        "input: 100% of the time was spent waiting for patches; use --engine native"
    ]
    assert said[0].endswith("waiting for input 100%")
    assert (tmp_path / "history.csv").read_text().splitlines()[0].endswith(",waiting")


def test_no_advice_where_nothing_was_waited_for(tmp_path):
    said = []
    trained(tmp_path, callbacks=Callbacks(said.append, lambda done, of: None), waiting=Clock(0.0))
    assert len(said) == 3 and all(line.endswith("waiting for input 0%") for line in said)
