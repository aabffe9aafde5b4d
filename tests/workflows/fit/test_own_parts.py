"""fit with a loss, callbacks and transforms of the caller's own."""

import json

import keras
import numpy as np
import pytest
from helpers import tiny_settings

from keras_unet3d import InputError, fit, zoo
from keras_unet3d.network.losses import OfLogits

LOGITS = np.array([[1.0, 3.0], [0.0, 0.0], [2.0, -2.0]], np.float32).reshape(1, 1, 1, 3, 2)
LABELS = np.array([0, 1, 0], np.int32).reshape(1, 1, 1, 3)
WEIGHTS = np.array([1.0, 2.0, 0.0], np.float32).reshape(1, 1, 1, 3)
# Cross-entropy per voxel: -log(e / (e + e3)), -log(1 / 2), -log(e2 / (e2 + e-2)).
VALUES = [np.log(1 + np.exp(2)), np.log(2), np.log(1 + np.exp(-4))]


def config(run) -> dict:
    return json.loads((run.path / "config.json").read_text())


# ---- a loss of probabilities, seen through logits ---------------------------------------------------


def test_a_keras_loss_of_probabilities_by_hand():
    loss = OfLogits(keras.losses.SparseCategoricalCrossentropy())
    # Its own reduction, over all voxels: the third has weight 0.
    expected = (1 * VALUES[0] + 2 * VALUES[1]) / 3
    assert float(loss(LABELS, LOGITS, WEIGHTS)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(LABELS, LOGITS)) == pytest.approx(np.mean(VALUES), rel=1e-5)


def test_a_function_by_hand_is_averaged_by_the_weights():
    def error(y, p):
        return 1 - keras.ops.sum(p * keras.ops.one_hot(keras.ops.cast(y, "int32"), 2), axis=-1)

    errors = [1 - np.exp(-value) for value in VALUES]
    expected = (1 * errors[0] + 2 * errors[1]) / 3
    assert float(OfLogits(error)(LABELS, LOGITS, WEIGHTS)) == pytest.approx(expected, rel=1e-5)
    assert float(OfLogits(error)(LABELS, LOGITS)) == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_function_that_has_taken_the_mean_already_is_refused():
    with pytest.raises(
        InputError, match=r"loss: expected a value per voxel, shape \(1, 1, 1, 3\); found \(\); the mean"
    ):
        OfLogits(lambda y, p: keras.ops.mean(p))(LABELS, LOGITS, WEIGHTS)


def test_half_precision_logits_are_a_float32_loss():
    loss = OfLogits(keras.losses.SparseCategoricalCrossentropy())
    found = loss(LABELS, keras.ops.cast(LOGITS, "bfloat16"), WEIGHTS)
    assert str(keras.backend.standardize_dtype(found.dtype)) == "float32"
    assert float(found) == pytest.approx(float(loss(LABELS, LOGITS, WEIGHTS)), rel=0.02)


# ---- fit(loss=) ------------------------------------------------------------------------------------


def absolute(y, p):
    """The absolute error of the probability of the true class, a value per voxel."""
    return 1 - keras.ops.sum(p * keras.ops.one_hot(keras.ops.cast(y, "int32"), 2), axis=-1)


class Doubled(keras.losses.SparseCategoricalCrossentropy):
    """Twice the cross-entropy."""

    def __call__(self, y, p, w=None):
        return 2 * super().__call__(y, p, w)


@pytest.fixture(scope="module")
def of_probabilities(tiny_data, tmp_path_factory):
    loss = keras.losses.SparseCategoricalCrossentropy()
    return fit(tiny_data, tmp_path_factory.mktemp("own") / "run", settings=tiny_settings(), loss=loss)


def test_a_loss_of_probabilities_and_one_of_logits_are_the_same(of_probabilities, tiny_data, tmp_path):
    run = fit(tiny_data, tmp_path / "run", settings=tiny_settings(), loss=Doubled(from_logits=True))
    # It is this loss that is minimised: the first step is of the same network on the same batch.
    assert run.history["loss"][0] == pytest.approx(2 * of_probabilities.history["loss"][0], rel=1e-5)
    assert run.history["val_iou"] == pytest.approx(of_probabilities.history["val_iou"], abs=1e-3)
    # What a Keras loss was made with is kept, too: another `from_logits` is another loss.
    assert config(of_probabilities)["parts"]["loss"].startswith("SparseCategoricalCrossentropy {'name': ")
    assert "'from_logits': True" in config(run)["parts"].pop("loss")
    assert config(run)["parts"] | {"loss": None} == {"loss": None, "callbacks": [], "transforms": []}


def test_a_function_is_a_loss_as_well_and_its_name_is_kept(tiny_data, tmp_path):
    run = fit(tiny_data, tmp_path / "run", settings=tiny_settings(), loss=absolute)
    assert 0 < run.history["loss"][0] < 1 and np.isfinite(run.history["val_loss"]).all()
    assert config(run)["parts"] == {"loss": "absolute", "callbacks": [], "transforms": []}
    # What is kept is the plain network, which knows nothing of it.
    assert zoo.predictor(run.path)(np.random.default_rng(0).normal(size=(8, 8, 8)).astype("f")).shape == (8, 8, 8)


# ---- callbacks and transforms ----------------------------------------------------------------------


class Counts(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        # After this package's own: the figures of the epoch are all there.
        assert {"loss", "val_iou", "waiting"} <= set(logs)
        self.calls.append(f"epoch {epoch}")


def inverted(x, y, w, rng):
    return -x, y, w


def noisy(x, y, w, rng):
    return x + rng.normal(size=x.shape), y, w


def test_callbacks_and_transforms_are_used_and_recorded(tiny_fit, tiny_data, tmp_path):
    counts = Counts()
    settings = tiny_settings(epochs=2, steps_per_epoch=2)
    run = fit(tiny_data, tmp_path / "run", settings=settings, callbacks=[counts], transforms=[inverted, noisy])
    assert counts.calls == ["begin", 0, 1, "epoch 0", 0, 1, "epoch 1"]
    assert config(run)["parts"] == {"loss": None, "callbacks": ["Counts"], "transforms": ["inverted", "noisy"]}
    # Without them the first step is another one; a run that had none has none recorded.
    assert run.history["loss"][0] != tiny_fit.history["loss"][0]
    assert config(tiny_fit)["parts"] == {"loss": None, "callbacks": [], "transforms": []}


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "own", "said"),
    [
        (
            dict(class_weights="balanced"),
            dict(loss=absolute),
            "loss: expected neither `class_weights` nor `accumulate` beside a loss of your own, found one of them; leave "
            "it out.",
        ),
        (
            dict(accumulate=2),
            dict(loss=absolute),
            "loss: expected neither `class_weights` nor `accumulate` beside a loss of your own, found one of them; leave "
            "it out.",
        ),
        (
            dict(augment=True, augment_on="device"),
            dict(transforms=[inverted]),
            "transforms: expected `augment_on=host`, found device, where samples never pass; leave one out.",
        ),
        (
            dict(freeze_encoder=1),
            {},
            "freeze_encoder: expected a trained network to begin with (`start`), found none, where 1 would keep an encoder "
            "that has learnt nothing; leave it out.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tiny_data, tmp_path, settings, own, said):
    with pytest.raises(InputError) as caught:
        fit(tiny_data, tmp_path / "run", settings=tiny_settings(**settings), **own)
    assert str(caught.value) == said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (dict(loss=Doubled), "loss: expected a keras.losses.Loss or a function of y and p, found the class Doubled."),
        (dict(loss="mse"), "loss: expected a keras.losses.Loss or a function of y and p, found 'mse'."),
        (dict(callbacks=[Counts]), "callbacks: expected a list of callbacks, found the class Counts in it."),
        (dict(callbacks=Counts()), "callbacks: expected a list, found a Counts."),
        (dict(transforms=inverted), "transforms: expected a list, found a function."),
        (dict(transforms=[3]), "transforms: expected a list of transforms, found 3 in it."),
        (dict(settings=dict(epochs=1)), "settings: expected a FitSettings, found a dict."),
        (
            dict(listener=print),
            "listener: expected a Listener, found a builtin_function_or_method; Listener(print) prints",
        ),
        (dict(start="model"), "start: expected a Start, found a str; give keras_unet3d.Start(model, name)."),
    ],
)
def test_what_is_no_such_part_is_refused(tiny_data, tmp_path, own, said):
    with pytest.raises(InputError) as caught:
        fit(tiny_data, tmp_path / "run", **{"settings": tiny_settings()} | own)
    assert str(caught.value).startswith(said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda x, y, w: (x[:4], y, w), r"\(4, 8, 8, 1\), \(8, 8, 8\), \(8, 8, 8\)"),
        (lambda x, y, w: None, "found None"),
    ],
)
def test_a_transform_that_returns_something_else_is_refused(tiny_data, tmp_path, returned, said):
    def wrong(x, y, w, rng):
        return returned(x, y, w)

    with pytest.raises(InputError, match=f"transforms: expected wrong to return x, y and w of shapes .*{said}"):
        fit(tiny_data, tmp_path / "run", settings=tiny_settings(), transforms=[wrong])


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_loss_and_transforms_only(tiny_data, tmp_path):
    settings = tiny_settings(epochs=1)
    out = tmp_path / "run"
    fit(tiny_data, out, settings=settings, loss=absolute, transforms=[noisy], callbacks=[Counts()])
    before = (out / "config.json").read_bytes()
    longer = tiny_settings(epochs=2)
    for own, said in (
        (
            dict(loss=Doubled(), transforms=[noisy]),
            "the loss that it was begun with, absolute, found Doubled {.*}; give the same again.",
        ),
        (dict(transforms=[noisy]), "the loss that it was begun with, absolute, found None; give the same again."),
        (
            dict(loss=absolute, transforms=[inverted]),
            r"the transforms that it was begun with, \['noisy'\], found \['inverted'\]; give the same again.",
        ),
        (dict(loss=absolute), r"the transforms that it was begun with, \['noisy'\], found None; give the same again."),
    ):
        with pytest.raises(InputError, match=f"run: expected {said}"):
            fit([], out, settings=longer, resume=True, **own)
        assert (out / "config.json").read_bytes() == before
    # Callbacks are their caller's business.
    run = fit([], out, settings=longer, resume=True, loss=absolute, transforms=[noisy])
    assert len(run.history["loss"]) == 2
