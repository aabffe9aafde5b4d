"""Calibration by hand, and the temperature against a search of all."""

import numpy as np
import pytest

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.calibration import calibration, fit_temperature
from keras_unet3d.labels import UNLABELLED


def test_the_error_by_hand():
    # Two voxels 0.9 sure of which one is right; two 0.6 sure, both right; one that nobody labelled.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6], [1.0, 0.0]])
    truth = np.array([0, 0, 0, 1, UNLABELLED])
    found = calibration(truth, probabilities)
    assert found.error == pytest.approx((abs(1.8 - 1) + abs(1.2 - 2)) / 4)
    assert found.voxels.sum() == 4
    parts = calibration(truth[:1], probabilities[:1]) + calibration(truth[1:], probabilities[1:])
    np.testing.assert_allclose((parts.voxels, parts.sureness, parts.right), (found.voxels, found.sureness, found.right))


def test_certainty_is_in_the_last_bin_and_nothing_has_no_error():
    sure = calibration(np.array([0]), np.array([[1.0, 0.0]]))
    assert sure.voxels.tolist() == [0] * 14 + [1] and sure.error == 0
    assert calibration(np.array([UNLABELLED]), np.array([[1.0, 0.0]])).error is None


def drawn(temperature, voxels=4000, classes=3):
    """Return probabilities that are too sure by `temperature`, and a truth drawn from what they should be."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (voxels, classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (honest.cumsum(axis=1) > rng.random((voxels, 1))).argmax(axis=1)
    said = np.exp(temperature * logits)
    return (said / said.sum(axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_best_of_all(temperature):
    probabilities, truth = drawn(temperature)
    found = fit_temperature(probabilities, truth)
    assert found == pytest.approx(temperature, rel=0.1)

    def likelihood(tried):
        powers = probabilities.astype(float) ** (1 / tried)
        return np.log(powers[np.arange(len(truth)), truth] / powers.sum(axis=1)).mean()

    tried = np.exp(np.linspace(np.log(0.2), np.log(5), 400))
    best = tried[np.argmax([likelihood(each) for each in tried])]
    assert found == pytest.approx(best, rel=0.01)


def test_a_temperature_of_a_volume_is_that_of_its_labelled_voxels():
    probabilities, truth = drawn(2.0, voxels=1000)
    alone = fit_temperature(probabilities, truth)
    volume = np.concatenate([probabilities, probabilities[:, ::-1]]).reshape(2, 10, 100, 3)
    labels = np.concatenate([truth, np.full(1000, UNLABELLED)]).reshape(2, 10, 100)
    assert fit_temperature(volume, labels) == pytest.approx(alone)


def test_a_network_that_is_certain_has_a_temperature():
    probabilities = np.repeat([[1.0, 0.0], [0.0, 1.0]], 10, axis=0)
    truth = np.repeat([0, 1], 10)
    truth[0] = 1
    assert 1 < fit_temperature(probabilities, truth) <= 5


def test_what_no_temperature_can_be_fitted_to_is_refused():
    with pytest.raises(
        InputError, match=r"expected a class for every voxel of the probabilities, \(4,\); found \(5,\)"
    ):
        fit_temperature(np.full((4, 2), 0.5), np.zeros(5, int))
    with pytest.raises(InputError, match="expected labelled voxels to fit a temperature to, found none"):
        fit_temperature(np.full((4, 2), 0.5), np.full(4, UNLABELLED))
