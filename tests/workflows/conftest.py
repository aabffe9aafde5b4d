"""Fixtures of the workflows: the network of the tiny run, ready to predict."""

import pytest

from keras_unet3d import zoo
from keras_unet3d.prediction.predictor import Predictor


@pytest.fixture(scope="session")
def predictor(tiny_run) -> Predictor:
    """The predictor of `tiny_run`."""
    return zoo.predictor(tiny_run)
