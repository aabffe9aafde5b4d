"""What is kept of a training: the best and the last network, and nothing once the loss has left the numbers."""

import errno
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_unet3d
from keras_unet3d import InputError, choices
from keras_unet3d.evaluation.overlap import count, figures
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import precision
from keras_unet3d.network.copies import logits_model
from keras_unet3d.patches.batches import Waiting
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.callbacks import Clock, Diverged
from keras_unet3d.training.loop import train
from keras_unet3d.training.network import FusedBatchNormalization, trained_network
from keras_unet3d.training.optimizers import DECAYS, OPTIMIZERS, LearningRate, Muon, orthogonalized
from keras_unet3d.training.schedule import Feed, Schedule, Shown

X = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
Y = (X[..., 0] > 0).astype(np.int32)
W = np.ones(Y.shape, np.float32)


def trained(
    tmp_path, epochs=3, weights=W, rate=1e-2, listener=SILENT, waiting=None, normalization="batch", seen=X, **options
):
    tmp_path.mkdir(exist_ok=True)
    model = keras_unet3d.build_model(base_filters=2, depth=2, normalization=normalization, seed=0)
    data = tf.data.Dataset.from_tensors((X, Y, weights))
    origin = "of stack.h5 at {}".format

    def validation(network):
        probabilities = keras.ops.convert_to_numpy(network(seen, training=False))
        found = figures(count(Y, probabilities.argmax(-1), 2), ("below", "above"))
        loss = -np.log(np.take_along_axis(probabilities, Y[..., None], -1)).mean()
        return {"val_loss": loss} | {f"val_{name}": value for name, value in found["above"].items()}

    feed = Feed(lambda first: data.repeat(), validation, waiting or Waiting(), None, "use `engine=native`", origin)
    schedule = Schedule(epochs, 4, rate, "crossentropy+dice", **options)
    shown = Shown((X[0], Y[0], W[0]), LabelTable((0, 1), ("below", "above")), None)
    rows, _ = train(model, feed, schedule, RunFolder(tmp_path), shown=shown, listener=listener)
    return model, {name: [row[name] for row in rows] for name in rows[0]}


def test_learns_and_keeps_the_best_and_the_last(tmp_path):
    model, history = trained(tmp_path, epochs=5)
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_iou"][-1] > 0.5
    last, best = (keras.models.load_model(tmp_path / name) for name in ("last.keras", "model.keras"))
    np.testing.assert_array_equal(last(X), model(X))
    iou = keras_unet3d.IoU(2, background=0)
    iou.update_state(Y, best(X, training=False), W)
    assert float(iou.result()) == pytest.approx(max(history["val_iou"]), abs=1e-6)


def test_files_and_lines(tmp_path):
    said, steps = [], []
    _, history = trained(tmp_path, listener=Listener(said.append, lambda done, of: steps.append((done, of))))
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
        Diverged,
        match=r"epoch 1, step 1: the loss is (nan|inf) on the batch of stack.h5 at 0, .* Lower `learning_rate`, set `clip=1`, or use `precision=float32`",
    ):
        trained(tmp_path, weights=np.full(W.shape, np.inf, np.float32))
    assert not (tmp_path / "model.keras").exists()


def test_figures_that_are_no_numbers_are_not_kept(tmp_path):
    """The training loss is finite, what is validated is not: as after too large a last step."""
    with pytest.raises(
        Diverged,
        match=r"epoch 1: val_loss is nan, although the loss of every step was a number; the training has diverged",
    ):
        trained(tmp_path, seen=X * np.float32(np.inf))
    assert not (tmp_path / "model.keras").exists() and not (tmp_path / "last.keras").exists()


class Waited(Waiting):
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
    _, history = trained(tmp_path, listener=Listener(said.append), waiting=Waited(1e9))
    assert history["waiting"] == [1.0] * 3
    assert [line for line in said if line.startswith("input:")] == [
        "input: 100% of the time was spent waiting for patches; use `engine=native`"
    ]
    assert said[0].endswith("waiting for input 100%")
    assert (tmp_path / "history.csv").read_text().splitlines()[0].endswith(",waiting")


def test_no_advice_where_nothing_was_waited_for(tmp_path):
    said = []
    trained(tmp_path, listener=Listener(said.append), waiting=Waited(0.0))
    assert len(said) == 3 and all(line.endswith("waiting for input 0%") for line in said)


def test_the_learning_rate_by_hand():
    schedule = Schedule(10, 10, 0.1, "crossentropy", warmup=20)
    rate = LearningRate(schedule)
    found = [float(rate(step)) for step in (0, 9, 19, 20, 60, 100, 1000)]
    # Rises by 1/20 a step, then (1 - share) ** 0.9 of the 80 steps that are left.
    assert found == pytest.approx([0.005, 0.05, 0.1, 0.1, 0.1 * 0.5**0.9, 0.0, 0.0], abs=1e-7)
    assert float(LearningRate(schedule, begun=60)(0)) == pytest.approx(found[4])
    cosine, constant = (LearningRate(replace(schedule, warmup=0, decay=decay)) for decay in ("cosine", "constant"))
    assert [float(cosine(step)) for step in (0, 50, 100)] == pytest.approx([0.1, 0.05, 0.0], abs=1e-7)
    assert [float(constant(step)) for step in (0, 50, 100)] == pytest.approx([0.1] * 3)


class Ticking:
    """A clock that goes on by a minute whenever it is asked."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 60
        return self.seconds


def test_the_learning_rate_falls_by_the_clock(monkeypatch):
    monkeypatch.setattr("keras_unet3d.training.callbacks.time.perf_counter", Ticking())
    schedule = Schedule(5, 1, 0.1, "crossentropy", minutes=10)
    rows = []
    clock = Clock(schedule, 10.0, rows)
    clock.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=None), stop_training=False))
    clock.on_train_begin()
    rates = []
    while not clock.model.stop_training:
        clock.on_epoch_begin(len(rows))
        rates.append(clock.model.optimizer.learning_rate)
        logs = {}
        clock.on_epoch_end(len(rows), logs)
        rows.append(logs)
    # An epoch takes two minutes, as was planned for the first one: the rates are those of its middle.
    assert [row["minutes"] for row in rows] == [2, 4, 6, 8, 10]
    assert rates == pytest.approx([0.1 * (1 - share) ** 0.9 for share in (0.2, 0.4, 0.6, 0.8, 1.0)])
    again = Clock(schedule, 10.0, rows[:2])
    again.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=None), stop_training=False))
    again.on_train_begin()
    again.on_epoch_begin(2)
    assert again.model.optimizer.learning_rate == pytest.approx(rates[2])


def test_all_singular_values_become_about_one():
    rng = np.random.default_rng(0)
    for shape in ((5, 5), (40, 6), (6, 40)):
        matrix = rng.normal(size=shape).astype(np.float32)
        changed = np.asarray(orthogonalized(keras.ops.convert_to_tensor(matrix)))
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        values = np.diag(left.T @ changed @ right.T)
        assert changed.shape == shape
        assert (values > 0.6).all() and (values < 1.3).all()
        # Nothing is turned: between different directions there is nothing.
        np.testing.assert_allclose(left.T @ changed @ right.T, np.diag(values), atol=1e-4)


def test_muon_by_hand():
    rng = np.random.default_rng(0)
    kernel, offset, first = (
        keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in ((1, 1, 2, 4, 6), (6,), (3, 3, 3, 1, 4))
    )
    variables = [kernel, offset, first]
    before = [np.array(variable) for variable in variables]
    gradients = [rng.normal(size=variable.shape).astype(np.float32) for variable in variables]
    Muon(0.01, weight_decay=0.0).apply([keras.ops.convert_to_tensor(part) for part in gradients], variables)
    matrix = keras.ops.convert_to_tensor(1.95 * gradients[0].reshape(8, 6))
    step = 0.01 * 0.2 * np.sqrt(8) * np.asarray(orthogonalized(matrix)).reshape(kernel.shape)
    np.testing.assert_allclose(before[0] - kernel, step, rtol=1e-4, atol=1e-7)
    # The first step of AdamW is as large everywhere as the learning rate.
    for old, new, gradient in zip(before[1:], variables[1:], gradients[1:], strict=True):
        np.testing.assert_allclose(old - new, 0.01 * np.sign(gradient), rtol=1e-3)


def test_the_names_of_the_settings_are_those_of_the_training():
    assert set(choices.OPTIMIZERS) == set(OPTIMIZERS)
    assert set(choices.DECAYS) == set(DECAYS)


def test_a_running_mean_of_the_weights_is_what_is_kept(tmp_path):
    model, _ = trained(tmp_path, epochs=1, ema=0.5, optimizer="sgd")
    trained(tmp_path / "plain", epochs=1, optimizer="sgd")
    last, other = (keras.models.load_model(folder / "last.keras") for folder in (tmp_path, tmp_path / "plain"))
    with np.load(RunFolder(tmp_path).state) as arrays:
        raw = arrays["network/0"]
    np.testing.assert_array_equal(last.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(raw, other.get_weights()[0])
    assert np.abs(raw - last.get_weights()[0]).max() > 0


def test_stops_where_the_validation_does_not_get_better(tmp_path):
    said = []
    # Without a learning rate and moving statistics, every epoch is like the first.
    _, history = trained(
        tmp_path, epochs=9, rate=0.0, normalization="none", listener=Listener(said.append), early_stop=2
    )
    assert len(history["loss"]) == 3
    assert said[-1] == "stopped: the validation IoU has not risen for 2 epochs"


def test_lower_levels_are_supervised_at_full_size(tmp_path):
    model = keras_unet3d.build_model(base_filters=2, depth=4, seed=0)
    loss = keras_unet3d.SampleWeightedSparseCrossentropy(from_logits=True)
    network = trained_network(model, loss, deep_supervision=True, augmentation=None)
    assert [output.shape[1:] for output in network(np.zeros((1, 16, 16, 16, 1)))] == [(16, 16, 16, 2)] * 3
    network.compile("sgd", loss=loss)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype(np.float32)
    y, w = (x[..., 0] > 0).astype(np.int32), np.ones((1, 16, 16, 16), np.float32)
    first, second, third = (float(loss(y, logits, w)) for logits in network(x))
    total = float(network.compute_loss(x, y, network(x), w, training=True))
    assert total == pytest.approx((first + second / 2 + third / 4) / 1.75, rel=1e-5)
    # What is validated is the first output alone.
    assert float(network.compute_loss(x, y, network(x), w, training=False)) == pytest.approx(first, rel=1e-5)
    before = network.get_layer("logits_2").get_weights()[0].copy()
    network.fit(x, y, sample_weight=w, verbose=0)
    assert np.abs(network.get_layer("logits_2").get_weights()[0] - before).max() > 0
    # The network that is kept has no such head.
    assert "logits_2" not in [layer.name for layer in model.layers]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_fused_normalisation_is_keras_own(policy):
    with precision.dtype_policy(policy):
        model, plain = (keras_unet3d.build_model(base_filters=2, depth=2, seed=0) for _ in range(2))
    fused = trained_network(model, keras_unet3d.SampleWeightedSparseCrossentropy(), False, None)
    assert any(isinstance(layer, FusedBatchNormalization) for layer in fused.layers)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4, 1)).astype(np.float32)
    tolerance = 1e-5 if policy == "float32" else 0.1
    a, b = fused(x, training=True), logits_model(plain)(x, training=True)
    np.testing.assert_allclose(a, b, atol=tolerance)
    assert a.dtype == "float32"
    # The moving statistics too, in float32 whatever the policy.
    for one, other in zip(model.weights, plain.weights, strict=True):
        assert one.dtype == "float32"
        np.testing.assert_allclose(one, other, atol=tolerance / 10, err_msg=one.path)
    np.testing.assert_allclose(fused(x, training=False), logits_model(plain)(x, training=False), atol=tolerance)


def test_a_full_disk_does_not_stop_it_and_is_said(tmp_path, monkeypatch):
    said, full = [], [True]
    save = keras.Model.save

    def write(self, path, *arguments, **options):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return save(self, path, *arguments, **options)

    def progress(done, of):
        full[0] = done < 9

    monkeypatch.setattr(keras.Model, "save", write)
    _, history = trained(tmp_path, epochs=3, listener=Listener(said.append, progress))
    assert len(history["loss"]) == 3
    failed = [line for line in said if "could not be written" in line]
    assert len(failed) == 4, "both networks, after each of two epochs"
    assert failed[1] == (
        f"could not be written: {tmp_path / 'model.keras'}: expected room for the result, found the disk full; make room, or "
        "choose another path. The training goes on, and tries again after an epoch"
    )
    # Written when there was room again, though the first epochs may have been better.
    assert (tmp_path / "model.keras").is_file()


def test_a_disk_that_is_full_to_the_end_is_an_error(tmp_path, monkeypatch):
    def write(self, path, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(keras.Model, "save", write)
    with pytest.raises(InputError, match="expected room for the result, found the disk full"):
        trained(tmp_path)
