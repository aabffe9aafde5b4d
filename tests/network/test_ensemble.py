"""Networks side by side: one model whose output is the mean of their probabilities, in every form that it is used in."""

import keras
import numpy as np
import pytest
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.network.copies import float32_copy, folded_copy, logits_model
from keras_unet3d.network.costs import inference_bytes
from keras_unet3d.network.unet import architecture_of, build_model, ensemble, members_of

X = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)


def a_network(seed: int, **options) -> keras.Model:
    """Return a small network whose normalisation has learnt something."""
    model = build_model(**{"base_filters": 2, "depth": 2, "num_classes": 3, "seed": seed} | options)
    rng = np.random.default_rng(seed)
    model.set_weights([weight + np.abs(rng.normal(0, 0.1, weight.shape)) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def networks() -> list[keras.Model]:
    return [a_network(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def mean(networks) -> np.ndarray:
    probabilities = [keras.ops.convert_to_numpy(network(X)) for network in networks]
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3
    return np.mean(probabilities, axis=0)


def _output(model: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(X, training=False))


def test_an_ensemble_gives_the_mean_of_the_probabilities(networks, mean):
    model = ensemble(networks)
    np.testing.assert_allclose(_output(model), mean, atol=1e-6)
    assert architecture_of(model).networks == 3
    assert architecture_of(model).geometry == architecture_of(networks[0]).geometry


def test_its_weights_are_its_own(networks):
    before = _output(networks[0])
    model = ensemble(networks)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    np.testing.assert_array_equal(_output(networks[0]), before)


def test_it_is_the_same_with_normalisation_folded_in_and_of_its_logits(networks, mean):
    folded = folded_copy(ensemble(networks))
    assert architecture_of(folded).normalization == "none"
    np.testing.assert_allclose(_output(folded), mean, atol=1e-5)
    np.testing.assert_allclose(keras.ops.softmax(_output(logits_model(folded))), mean, atol=1e-5)


def test_it_comes_back_from_a_file_without_any_class_of_ours(networks, mean, tmp_path):
    model = ensemble(networks)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert architecture_of(loaded) == architecture_of(model)
    np.testing.assert_allclose(_output(loaded), mean, atol=1e-6)
    assert float32_copy(loaded) is loaded


def test_build_model_makes_different_networks_again_the_same():
    first, second = (build_model(base_filters=2, depth=2, seed=7, networks=2) for _ in range(2))
    np.testing.assert_array_equal(_output(first), _output(second))
    one, other = (keras.ops.convert_to_numpy(member(X)) for member in members_of(first))
    assert np.abs(one - other).max() > 1e-3


def test_a_prediction_holds_the_features_of_one_network_at_a_time(networks):
    architecture = architecture_of(ensemble(networks))
    assert inference_bytes(architecture) == inference_bytes(architecture_of(networks[0]))


def test_networks_of_another_architecture_are_refused(networks):
    with pytest.raises(InputError, match=says("base_filters 2", "4 in network 2", "same options")):
        ensemble([networks[0], a_network(0, base_filters=4)])


def test_an_ensemble_of_one_or_of_ensembles_is_refused(networks):
    with pytest.raises(InputError, match=says("two networks", "found one")):
        ensemble(networks[:1])
    with pytest.raises(InputError, match=says("two networks", "2 ensembles")):
        ensemble([ensemble(networks)] * 2)


def test_logits_of_several_networks_are_refused():
    with pytest.raises(InputError, match=says("output", "probabilities", "'logits'")):
        build_model(networks=2, output="logits")
