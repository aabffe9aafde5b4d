"""One network, several engines: the same answers."""

import sys

import numpy as np
import pytest

import keras_unet3d
from keras_unet3d import InputError, zoo
from keras_unet3d.choices import GREY_VALUES
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure, normalize
from keras_unet3d.zoo import serving
from keras_unet3d.zoo.engines import NETWORKS as BY_ENGINE
from keras_unet3d.zoo.engines import onnx_network

VOLUME = np.random.default_rng(0).gamma(4.0, 20.0, (18, 30, 34)).astype(np.float32)
NETWORKS = {"same": {}, "valid": dict(padding="valid"), "instance": dict(normalization="instance")}


@pytest.fixture(scope="module", params=NETWORKS)
def bundle(request, tmp_path_factory):
    network = keras_unet3d.build_model(base_filters=4, depth=2, num_classes=3, seed=0, **NETWORKS[request.param])
    for layer in network.layers:
        if "_norm_" in layer.name:
            layer.set_weights([np.random.default_rng(1).uniform(0.5, 1.5, each.shape) for each in layer.get_weights()])
    return zoo.export(network, {"name": "three"}, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("engine", ["savedmodel", "onnx", "openvino"])
def test_engines_agree(bundle, engine):
    reference, other = zoo.predictor(bundle), zoo.predictor(bundle, engine)
    for settings in (PredictSettings(), PredictSettings(tile=(20, 24, 24), merge="blend", batch_size=2)):
        found, wanted = (each.predict(from_array(VOLUME), "probabilities", settings) for each in (other, reference))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(InputError, match="output: expected one of what the network returns, probabilities"):
        other.predict(from_array(VOLUME), "logits")


@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_bfloat16_rounds_to_eight_bits(bundle, engine):
    network = zoo.load(bundle)
    tile = np.random.default_rng(0).normal(size=(1, 24, 24, 24, 1)).astype(np.float32)
    exact, half = (BY_ENGINE[engine, precision](network)(tile) for precision in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - exact).max() < 0.05
    np.testing.assert_allclose(half.sum(axis=-1), 1, atol=1e-5)


def test_an_unknown_engine_is_refused(bundle):
    with pytest.raises(InputError, match="engine: expected one of keras, savedmodel, onnx, openvino; found 'torch'"):
        zoo.predictor(bundle, "torch")
    with pytest.raises(InputError, match="precision: expected one of float32, bfloat16; found 'int8'"):
        zoo.predictor(bundle, "keras", "int8")


def test_a_run_has_no_saved_model(tiny_run):
    with pytest.raises(InputError, match="expected a bundle for the engine savedmodel, found a run folder; export it"):
        zoo.predictor(tiny_run, "savedmodel")


def test_a_slim_bundle_says_how_to_get_its_saved_model():
    with pytest.raises(InputError, match=r"found one without; make it by `zoo\.complete\('ovule-nuclei', FOLDER\)`"):
        zoo.predictor("ovule-nuclei", "savedmodel")


@pytest.mark.parametrize("module", ["onnxruntime", "tf2onnx"])
def test_a_missing_package_is_explained(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"found no {module}; run pip install 'keras-unet3d\\[onnx\\]'"):
        onnx_network(keras_unet3d.build_model(base_filters=2, depth=2))


def test_a_savedmodel_normalises_raw_volumes_as_the_predictor_does():
    stained = VOLUME * np.linspace(0.5, 2, 18, dtype=np.float32)[:, None, None]
    stained[4] = 7.0  # a section of nothing
    volume = stained[..., None]
    for how in GREY_VALUES:
        expected = normalize(volume, measure(from_array(volume), how), how)
        np.testing.assert_allclose(serving._NORMALIZED[how](volume[None])[0], expected, atol=1e-4)
