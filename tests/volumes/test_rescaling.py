"""Rescalings of grey values give what the transforms of pytorch-3dunet give; `tests/zoo/checkpoints/make.py` wrote those."""

from pathlib import Path

import numpy as np
import pytest

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import Rescaling, measure, normalize
from keras_unet3d.zoo.pytorch_3dunet import normalization_of
from keras_unet3d.zoo.serving import _rescaled

EXPECTED = np.load(Path(__file__).parents[1] / "zoo" / "checkpoints" / "expected.npz")
VOLUME = EXPECTED["grey_input"]
TRANSFORMS = {
    "standardize": {"name": "Standardize"},
    "standardize_fixed": {"name": "Standardize", "mean": 80.0, "std": 30.0},
    "standardize_channelwise": {"name": "Standardize", "channelwise": True},
    "percentiles": {"name": "PercentileNormalizer", "pmin": 5, "pmax": 99.0},
    "percentiles_channelwise": {"name": "PercentileNormalizer", "pmin": 1, "pmax": 99.6, "channelwise": True},
    "range": {"name": "Normalize", "min_value": 10, "max_value": 200},
    "range_norm01": {"name": "Normalize", "min_value": 10, "max_value": 200, "norm01": True},
    "range_of_the_volume": {"name": "Normalize"},
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_grey_values_are_those_of_the_transform(name):
    how = normalization_of([TRANSFORMS[name]], VOLUME.shape[-1], "test")
    found = normalize(VOLUME, measure(from_array(VOLUME), how), how)
    np.testing.assert_allclose(found, EXPECTED[f"grey_{name}"], atol=2e-6)
    if isinstance(how, Rescaling):
        np.testing.assert_allclose(_rescaled(VOLUME[None], how)[0], found, atol=2e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("low, high", [(0, 100), (1, 99.6), (25, 26)])
def test_percentiles_are_those_of_numpy(dtype, low, high):
    values = (np.random.default_rng(1).normal(60, 20, (5, 6, 7, 2)) - 60 * (dtype != "uint8")).astype(dtype)
    how = Rescaling("percentiles", low, high)
    ends = np.percentile(values.astype(np.float32), [low, high], axis=(0, 1, 2))
    statistics = measure(from_array(values), how)
    np.testing.assert_allclose([statistics.mean, statistics.mean + statistics.std], ends, rtol=1e-5, atol=1e-5)


def test_percentiles_at_one_value_are_refused():
    values = np.zeros((4, 4, 4, 1), np.float32)
    values[0, 0, 0] = 1
    with pytest.raises(InputError, match="expected grey values between two percentiles, found 0 at both"):
        measure(from_array(values), Rescaling("percentiles", 1, 90))


@pytest.mark.parametrize(
    "wrong", [{"low": 3, "high": 2}, {"by": "percentiles", "high": 101}, {"to": (1, 0)}, {"by": "mean"}]
)
def test_a_rescaling_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Rescaling(**{"by": "values"} | wrong)
