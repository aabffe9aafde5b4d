"""Means over volumes with their intervals, and the paired test."""

import numpy as np
import pytest
from scipy import stats

from keras_unet3d.evaluation.spread import Mean, mean_over_volumes, paired_test


def test_the_interval_is_that_of_resampled_volumes():
    values = np.random.default_rng(1).normal(0.88, 0.03, 40)
    found = mean_over_volumes(values)
    assert found.mean == pytest.approx(values.mean()) and found.count == 40
    # Of 40 normal values it is about 1.96 standard errors to either side.
    error = values.std(ddof=1) / np.sqrt(40)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert mean_over_volumes(values) == found
    other = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, random_state=0
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.1 * error)


def test_few_values():
    assert mean_over_volumes([]) is None
    assert mean_over_volumes([0.5]) == Mean(0.5, None, None, 1)
    assert mean_over_volumes([0.5, 0.5]) == Mean(0.5, 0.5, 0.5, 2)
    assert mean_over_volumes([0.5]).in_words() == "0.5000"
    assert mean_over_volumes([0.5, 0.5]).in_words() == "0.5000 [0.5000, 0.5000]"


def test_the_paired_test_by_hand():
    # Of the 32 ways to give five ranks signs one is all above, and one all below.
    assert paired_test([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 32)
    assert paired_test([0.1, 0.2, 0.3, 0.4, 0.5], "greater") == pytest.approx(1 / 32)
    # Three of the eight ways reach ranks 2 and 3, or more, above: those, all of them, and no others but 2 + 3 = 5.
    assert paired_test([-0.1, 0.2, 0.3], "greater") == pytest.approx(2 / 8)
    assert paired_test([0.0, 0.0]) == paired_test([]) == 1.0
