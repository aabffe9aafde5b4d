"""What fit can be told: every wrong value is refused in one sentence that names the option."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keras_unet3d import FitSettings, InputError


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, found 0"),
        ({"filters": "8,x"}, "filters: expected whole numbers of at least 1, like 8,32,64,128; found '8,x'"),
        ({"filters": "8,0"}, "filters: expected whole numbers of at least 1"),
        ({"filters": "8,16", "base_filters": 4}, "filters: expected to be given without `base_filters`, found both"),
        ({"filters": "8,16", "depth": 3}, "filters: expected 3 numbers, one per level, found 2"),
        ({"optimizer": "adam"}, "optimizer: expected one of muon, adamw, sgd; found 'adam'. Did you mean 'adamw'?"),
        ({"decay": "linear"}, "decay: expected one of polynomial, cosine, constant; found 'linear'"),
        ({"ema": 1.0}, "ema: expected a share of at least 0 and below 1, found 1.0"),
        ({"clip": -1.0}, "clip: expected a finite number of at least 0, found -1.0"),
        ({"accumulate": 0}, "accumulate: expected a whole number of at least 1, found 0"),
        ({"accumulate": 2, "augment_on": "device"}, "accumulate: expected 1 with `augment_on=device`, found more"),
        ({"ema": 0.9, "freeze_encoder": 1}, "ema: expected 0 with `freeze_encoder`, found more"),
        ({"minutes": 5.0, "epochs": 2}, "minutes: expected to be given without `epochs`, found both; leave one"),
        ({"minutes": 5.0, "steps_per_epoch": 2}, "minutes: expected to be given without `steps_per_epoch`, found both"),
        ({"minutes": 5.0, "freeze_encoder": 1}, "minutes: expected to be given without `freeze_encoder`, found both"),
        ({"minutes": 0.0}, "minutes: expected a finite number of at least 0.1, found 0"),
        ({"early_stop": 0}, "early_stop: expected a whole number of at least 1, found 0"),
        ({"epochs": True}, "epochs: expected a whole number of at least 1, found True"),
        ({"epochs": 1.5}, "epochs: expected"),
        ({"patch": (8, 8)}, "patch: expected three whole numbers (z, y, x) of at least 1, found (8, 8)"),
        ({"padding": "reflect"}, "padding: expected one of same, valid; found 'reflect'"),
        ({"loss": "crossentropy+dise"}, "Did you mean 'crossentropy+dice'"),
        ({"validation_share": 1.0}, "validation_share: expected a share of at least 0 and below 1, found 1.0"),
        ({"validation_share": -0.1}, "validation_share: expected a share of at least 0 and below 1, found -0.1"),
        ({"classes": "0=air,wall"}, "classes: expected whole numbers with names, like 0=background"),
        ({"classes": "0=air,5=wall", "num_classes": 2}, "classes: expected to be given alone, found `num_classes` too"),
        (
            {"background": 3, "target": "boundaries"},
            "background: expected with `target=cells`, found it with `target=boundaries`",
        ),
        (
            {"num_classes": 3, "target": "cells"},
            "num_classes: expected none with `target=cells`, found 3",
        ),
        (
            {"classes": "0=a,5=b", "target": "boundaries"},
            "classes: expected to be given alone, found `target=boundaries`",
        ),
        ({"classes": "0=a,5=b,9=c", "unlabelled": (9,)}, "classes: expected"),
        ({"class_weights": "balance"}, "class_weights: expected balanced, or every class once with a number"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number of at least 0, found nan"),
        ({"augment": "no"}, "augment: expected"),
        ({"unlabelled": 3}, "unlabelled: expected"),
        ({"engine": "elastic"}, "engine: expected one of auto, elasticdeform, native; found 'elastic'"),
        ({"augment_on": "gpu"}, "augment_on: expected one of host, device; found 'gpu'"),
        (
            {"augment_on": "device", "engine": "elasticdeform"},
            "engine: expected native or auto with `augment_on=device`, found elasticdeform",
        ),
        ({"flips": "xa"}, "flips: expected some of the axes z, y and x, each once, like yx; found 'xa'"),
        ({"flips": "xx"}, "flips: expected some of the axes z, y and x, each once, like yx; found 'xx'"),
        ({"deformation": 20.0}, "deformation: expected at most half the grid_spacing, 16"),
        ({"memory": -1}, "memory: expected a finite number of at least 0, found -1"),
        ({"seed": 2**32}, "seed: expected a whole number of at most 4294967295, found 4294967296"),
        ({"depth": 40}, "depth: expected a whole number of at most 12, found 40"),
        ({"base_filters": 10**6}, "base_filters: expected a whole number of at most 4096, found 1000000"),
        ({"filters": "8,1000000"}, "filters: expected whole numbers of at most 4096, found 1000000"),
        ({"dropout": 1.5}, "dropout: expected a share from 0 to below 1, found 1.5"),
        ({"workers": 10**9}, "workers: expected a whole number of at most 1024, found 1000000000"),
        ({"devices": 10**9}, "devices: expected a whole number of at most 1024, found 1000000000"),
        ({"epochs": 10**20}, "epochs: expected a whole number of at most 1000000, found 100000000000000000000"),
        ({"learning_rate": 1e30}, "learning_rate: expected a finite number of at most 100, found 1e+30"),
        ({"learning_rate": float("inf")}, "learning_rate: expected a finite number of at least 0, found inf"),
        ({"clip": 1e300}, "clip: expected a finite number of at most 1000000.0, found 1e+300"),
        ({"grid_spacing": 1e-9}, "grid_spacing: expected a finite number of at least 2, found 1e-09"),
        ({"rotation": 1e9}, "rotation: expected a finite number of at most 180, found 1000000000.0"),
        ({"deformation": 1e9}, "deformation: expected at most half the grid_spacing, 16"),
        ({"num_classes": 65}, "num_classes: expected a whole number of at most 64, found 65"),
        (
            {"unlabelled": (2**64,)},
            "unlabelled: expected a list of whole numbers of at most 18446744073709551615, found",
        ),
    ],
)
def test_settings_refuse(changes, said):
    with pytest.raises(InputError) as caught:
        FitSettings(**changes)
    assert said in str(caught.value)


def test_computed_numbers_count_as_if_they_were_written():
    settings = FitSettings(
        epochs=np.int64(3), learning_rate=np.float32(0.5), patch=np.array([8, 16, 16]), augment=np.bool_(False)
    )
    assert settings == FitSettings(epochs=3, learning_rate=0.5, patch=(8, 16, 16), augment=False)
    assert {type(size) for size in settings.patch} == {int}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": Fraction(3)}, "epochs: expected a whole number of at least 1, found a Fraction."),
        ({"epochs": int}, "epochs: expected a whole number of at least 1, found the class int."),
        ({"epochs": [3] * 1000}, "epochs: expected a whole number of at least 1, found a list."),
        ({"raw_key": Path("raw")}, "raw_key: expected a text, found a PosixPath."),
    ],
)
def test_what_would_look_right_is_shown_by_its_type(changes, said):
    with pytest.raises(InputError) as caught:
        FitSettings(**changes)
    assert str(caught.value) == said
