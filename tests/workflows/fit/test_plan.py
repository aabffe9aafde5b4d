"""What a fit decides where the user left it open."""

import json

import numpy as np
import pytest
from helpers import a_plan, tiny_settings

from keras_unet3d import FitSettings, fit
from keras_unet3d.machine import precision
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.fit.plan import changes_in_words, common_spacing


@pytest.mark.slow
def test_the_defaults_are_planned_and_kept(tiny_data, tmp_path):
    settings = tiny_settings(patch=(16, 16, 16), base_filters=None, depth=None, batch_size=None, deformation=None)
    run = fit([tiny_data], tmp_path / "run", settings=settings)
    kept = json.loads((run.path / "config.json").read_text())
    found = FitSettings(**kept["settings"])
    assert (found.filters, found.base_filters, found.depth) == ("8,32,64,128", None, 4)
    assert (found.batch_size, found.devices, found.learning_rate, found.deformation) == (2, 1, 4e-3, 0.8)
    assert kept["machine"]["oneDNN"] is True and kept["machine"]["backend"] == "tensorflow"


def test_flips_and_voxel_size_reach_the_augmentation():
    told = dict(augment=True, spacing=(1.0, 0.5, 0.5), flips="yx")
    changes = a_plan(**told).patches.augment
    assert (changes.flips, changes.voxel) == ((1, 2), 0.5)
    plan = a_plan(**told, deformation=3.0)
    assert changes_in_words(plan.settings, plan.spec).endswith(
        "control points 32 voxels = 16 um apart moved by 3 voxels = 1.5 um, grey values, mirrored along yx"
    )
    plan = a_plan(augment=False)
    assert changes_in_words(plan.settings, plan.spec) == "augmentation: none"


def test_the_voxel_size_of_volumes_in_other_units():
    volumes = [from_array(np.zeros((2, 2, 2)), spacing=(0.002, 0.001, 0.001), unit="mm")]
    assert common_spacing(volumes) == ((0.002, 0.001, 0.001), "mm")
    volumes += [from_array(np.zeros((2, 2, 2)), spacing=(4.0, 3.0, 3.0), unit="um")]
    assert common_spacing(volumes) == (pytest.approx((3, 2, 2)), "um")
    volumes += [from_array(np.zeros((2, 2, 2)))]
    assert common_spacing(volumes) == (None, None)


@pytest.mark.parametrize(("z", "expected"), [(16, "float32"), (24, "mixed_bfloat16"), (32, "mixed_bfloat16")])
def test_features_of_two_slices_are_not_trained_in_bfloat16(monkeypatch, z, expected):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "has_gpu", lambda: False)
    # Half of what a network of four levels is made for.
    plan = a_plan(shape=(48, 64, 64), patch=(z, 32, 32), filters="16,16,16,16", base_filters=None, depth=4)
    assert plan.spec.architecture.geometry.divisor == (8, 8, 8)
    assert plan.precision == expected
