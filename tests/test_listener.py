"""Listeners: silent unless the caller says otherwise, and told how far long work is."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import keras_unet3d
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.array_api import function_predictor
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array


def test_nobody_hears_of_it_by_default(capsys):
    SILENT.say("a line")
    SILENT.progress(1, 2)
    assert Listener() == SILENT
    assert keras_unet3d.open_data("sample").num_classes == 3
    assert tuple(capsys.readouterr()) == ("", "")


def test_each_of_the_two_may_be_heard_alone(capsys):
    done = []
    Listener(print).progress(1, 2)
    Listener(progress=lambda *counts: done.append(counts)).say("a line")
    assert (done, tuple(capsys.readouterr())) == ([], ("", ""))
    Listener(print).say("a line")
    Listener(progress=lambda *counts: done.append(counts)).progress(1, 2)
    assert (done, capsys.readouterr().out) == ([(1, 2)], "a line\n")


def test_a_listener_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        SILENT.say = print


@pytest.mark.parametrize("batch_size", [1, 3])
def test_progress_counts_up_to_all(batch_size):
    predictor = function_predictor(lambda batch: np.concatenate([batch, -batch], -1))
    volume = from_array(np.random.default_rng(0).normal(size=(4, 4, 40)))
    done = []
    predictor.predict(
        volume,
        settings=PredictSettings(tile=(4, 4, 8), overlap=0, batch_size=batch_size),
        listener=Listener(progress=lambda *counts: done.append(counts)),
    )
    assert done == [(count, 5) for count in ((1, 2, 3, 4, 5) if batch_size == 1 else (3, 5))]
