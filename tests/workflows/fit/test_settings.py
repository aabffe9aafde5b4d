"""What fit can be told: every wrong value is refused in one sentence that names the option."""

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
        ({"optimizer": "adam"}, "optimizer: expected one of adamw, sgd; found 'adam'. Did you mean 'adamw'?"),
        ({"decay": "linear"}, "decay: expected one of polynomial, cosine, constant; found 'linear'"),
        ({"ema": 1.0}, "ema: expected a share of at least 0 and below 1, found 1.0"),
        ({"clip": -1.0}, "clip: expected a finite number of at least 0, found -1.0"),
        ({"accumulate": 0}, "accumulate: expected a whole number of at least 1, found 0"),
        ({"accumulate": 2, "augment_on": "device"}, "accumulate: expected 1 with `augment_on=device`, found more"),
        ({"ema": 0.9, "freeze_encoder": 1}, "ema: expected 0 with `freeze_encoder`, found more"),
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
    ],
)
def test_settings_refuse(changes, said):
    with pytest.raises(InputError) as caught:
        FitSettings(**changes)
    assert said in str(caught.value)
