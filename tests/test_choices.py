"""choices: what a word does stands in the room that does it, and every room knows exactly the words that are offered."""

import numpy as np
import pytest

import keras_unet3d
from keras_unet3d import choices
from keras_unet3d.augment import ENGINES
from keras_unet3d.labels import LabelTable, class_volume
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network import unet
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.patches import source
from keras_unet3d.prediction import outputs
from keras_unet3d.prediction.merging import Blend, Exact
from keras_unet3d.settings import FitSettings, PredictSettings
from keras_unet3d.training import loop, optimizers, trackers
from keras_unet3d.volumes import from_array, grey_values
from keras_unet3d.volumes.grey_values import Rescaling
from keras_unet3d.workflows.fit import grey_values as fit_grey_values
from keras_unet3d.workflows.fit import memory, plan
from keras_unet3d.zoo import bioimageio, engines, importing, pytorch_3dunet, serving

# Words, and the table of what they do.
TABLES = {
    "grey values": (choices.GREY_VALUES, grey_values.NORMALIZERS),
    "grey values that a fit is asked for": (choices.ASKED_GREY_VALUES, fit_grey_values.ASKED),
    "grey values of a bundle's description": (choices.GREY_VALUES, bioimageio._PREPROCESSING),
    "grey values of a SavedModel": (choices.GREY_VALUES, serving._NORMALIZED),
    "anchors of grey values": (choices.ANCHORS, grey_values._ANCHORS),
    "anchors of a SavedModel": (choices.ANCHORS, serving._SERVED_ANCHORS),
    "networks of pytorch-3dunet": (importing._NETWORKS, pytorch_3dunet.NETWORKS),
    "sampling": (choices.SAMPLINGS, source.SAMPLINGS),
    "border": (choices.BORDERS, source._INSIDE),
    "engines of augmentation": (choices.AUGMENTATION_ENGINES, ENGINES),
    "optimisers": (choices.OPTIMIZERS, optimizers.OPTIMIZERS),
    "learning rates": (choices.OPTIMIZERS, plan._LEARNING_RATES),
    "copies of the weights": (choices.OPTIMIZERS, memory._COPIES),
    "decays": (choices.DECAYS, optimizers.DECAYS),
    "trackers": (choices.TRACKERS, trackers.TRACKERS),
    "losses": (choices.LOSSES, loop.DICE_WEIGHTS),
    "outputs": (choices.OUTPUTS, outputs.OUTPUTS),
    "normalisation layers": (choices.NORMALIZATIONS, unet._NORMALIZATION_LAYERS),
    "merges": (choices.MERGES, (Exact.name, Blend.name)),
    "engines of prediction": (
        choices.PREDICTION_ENGINES,
        (
            "keras",
            "savedmodel",
            *(name for name, precision in engines.NETWORKS if precision == "float32" and name != "keras"),
        ),
    ),
    "precisions of prediction": (choices.PREDICTION_PRECISIONS, engines._POLICIES),
    "precisions of OpenVINO": (choices.PREDICTION_PRECISIONS, engines._HINTS),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_room_knows_exactly_the_words_that_are_offered(what):
    words, table = TABLES[what]
    # In their order too: messages list either.
    assert tuple(table) == words


def test_every_list_has_its_words_once():
    lists = {name: words for name, words in vars(choices).items() if name.isupper()}
    assert len(lists) >= 17
    for name, words in lists.items():
        assert isinstance(words, tuple) and len(set(words)) == len(words) > 1, name
        assert all(isinstance(word, str) for word in words), name


@pytest.mark.parametrize("target", choices.TARGETS)
def test_labels_are_read_for_every_target(target):
    labels = np.zeros((2, 2, 4), np.uint8)
    labels[..., 2:] = 1
    table = LabelTable((0, 1, 2), ("a", "b", "c"), target=target)
    classes = class_volume(from_array(labels), table).array()[0, 0, :, 0]
    expected = {"semantic": [0, 0, 1, 1], "boundaries": [0, 1, 1, 0], "cells": [0, 0, 2, 1]}
    assert classes.tolist() == expected[target]


NETWORK = {
    "padding": choices.PADDINGS,
    "normalization": choices.NORMALIZATIONS,
    "block": choices.BLOCKS,
    "upsampling": choices.UPSAMPLINGS,
    "output": choices.NETWORK_OUTPUTS,
    "order": choices.ORDERS,
    "joining": choices.JOININGS,
}


@pytest.mark.parametrize("field, word", [(field, word) for field, words in NETWORK.items() for word in words])
def test_every_word_builds_a_network_of_its_own(field, word):
    # Enough channels for several groups of several.
    found = keras_unet3d.build_model(base_filters=16, depth=2, **{field: word})
    assert getattr(unet.architecture_of(found), field) == word


# Fields, and the lists of their words.
FIELDS = [
    *((Architecture, field, words) for field, words in NETWORK.items()),
    *((FitSettings, field, NETWORK[field]) for field in ("padding", "normalization", "block")),
    (FitSettings, "target", choices.TARGETS),
    (FitSettings, "sampling", choices.SAMPLINGS),
    (FitSettings, "sections", choices.SECTIONS),
    (FitSettings, "engine", ("auto", *choices.AUGMENTATION_ENGINES)),
    (FitSettings, "augment_on", choices.AUGMENT_ON),
    (FitSettings, "loss", choices.LOSSES),
    (FitSettings, "optimizer", choices.OPTIMIZERS),
    (FitSettings, "decay", choices.DECAYS),
    (FitSettings, "precision", choices.PRECISIONS),
    (FitSettings, "track", choices.TRACKERS),
    (PredictSettings, "merge", ("auto", *choices.MERGES)),
    (PredictSettings, "border", choices.BORDERS),
    (LabelTable, "target", choices.TARGETS),
    (Rescaling, "by", choices.ANCHORS),
    (ModelSpec, "normalization", choices.GREY_VALUES),
]


@pytest.mark.parametrize("kind, field, words", FIELDS, ids=[f"{kind.__name__}.{field}" for kind, field, _ in FIELDS])
def test_a_field_offers_exactly_these_words(kind, field, words):
    assert kind.__dataclass_fields__[field].metadata["choices"] == words


@pytest.mark.parametrize("word", choices.ASKED_GREY_VALUES)
def test_grey_values_are_any_of_these_words(word):
    assert FitSettings(grey_values=word).grey_values == word


def test_every_field_with_words_is_among_them():
    known = {(kind, field) for kind, field, _ in FIELDS}
    for kind in {kind for kind, _, _ in FIELDS}:
        for name, each in kind.__dataclass_fields__.items():
            assert not each.metadata.get("choices") or (kind, name) in known, name
