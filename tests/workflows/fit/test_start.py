"""Training a network further: what is kept, what is new, and what is frozen."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny_settings, write_pair

import keras_unet3d
from keras_unet3d import fit
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.network.unet import build
from keras_unet3d.workflows.fit.run import Start
from keras_unet3d.workflows.fit.start import take_weights


def weights(model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_all_is_kept_where_nothing_differs(tiny_fit):
    from keras_unet3d import zoo

    start = Start(zoo.load(tiny_fit.path), "RUN")
    model = build(replace(start.architecture, seed=7))
    count = len(weights(model))
    assert take_weights(model, start) == f"from RUN: {count} layers kept, none new"
    for name, arrays in weights(start.model).items():
        for kept, theirs in zip(weights(model)[name], arrays, strict=True):
            np.testing.assert_array_equal(kept, theirs)


def test_other_classes_and_channels_are_new_and_the_rest_is_kept():
    start = Start(keras_unet3d.build_model(base_filters=2, depth=2, seed=0), "old")
    model = keras_unet3d.build_model((None, None, None, 3), num_classes=4, base_filters=2, depth=2, seed=1)
    fresh = {name: arrays for name, arrays in weights(model).items() if name in ("analysis_0_conv_0", "logits")}
    line = take_weights(model, start)
    assert line.endswith("new: analysis_0_conv_0, logits")
    for name, arrays in weights(model).items():
        expected = fresh.get(name) or weights(start.model)[name]
        for found, wanted in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_a_fit_goes_on_from_a_network_on_other_classes(tiny_fit, tmp_path):
    from keras_unet3d import zoo

    label = np.zeros((16, 16, 16), np.uint8)
    label[:, 4:] = 5
    label[:, 8:] = 6
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(tmp_path / name, seed, label=label)
    said = []
    settings = tiny_settings(unlabelled=(), base_filters=None, depth=None, freeze_encoder=1, epochs=2)
    start = Start(zoo.load(tiny_fit.path), "tiny")
    run = fit(tmp_path, tmp_path / "run", settings=settings, start=start, listener=Listener(said.append))
    assert any(line.startswith("from tiny: ") and line.endswith("new: logits") for line in said)
    # The architecture is that of the network; the analysis path was frozen for one epoch of two.
    assert len(run.history["loss"]) == 2
    tuned = zoo.load(run.path)
    assert tuned.output_shape[-1] == 3 and len(weights(tuned)) == len(weights(start.model))


def test_a_frozen_analysis_path_does_not_change(tiny_fit, tiny_data, tmp_path):
    from keras_unet3d import zoo

    start = Start(zoo.load(tiny_fit.path), "tiny")
    settings = tiny_settings(freeze_encoder=2, epochs=2)
    run = fit(tiny_data, tmp_path / "run", settings=settings, start=start, listener=SILENT)
    before, after = weights(start.model), weights(zoo.load(run.path))
    for name in before:
        same = all(np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True))
        assert same == name.startswith("analysis_"), name


def test_another_network_than_the_one_it_starts_from_is_refused(tiny_fit, tiny_data, tmp_path):
    from keras_unet3d import zoo

    start = Start(zoo.load(tiny_fit.path), "tiny")
    with pytest.raises(keras_unet3d.InputError, match=r"depth: expected 2, that of tiny, found 3"):
        fit(tiny_data, tmp_path / "run", settings=tiny_settings(depth=3), start=start, listener=SILENT)
