"""How sure a mean over volumes is, and whether two networks differ on the same ones."""

from dataclasses import dataclass

import numpy as np

# Resamples of a bootstrap, and their seed: the same figures give the same interval.
_RESAMPLES, _SEED = 5000, 0
_COVERED = 95


@dataclass(frozen=True)
class Mean:
    """A mean over volumes with its 95 % interval, which one volume alone has not.

    Attributes:
        mean: of the values.
        low, high: the ends of the interval; None of fewer than two values.
        count: of the values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    def in_words(self, sign: str = "") -> str:
        """Return "0.8825 [0.8741, 0.8902]"; with the sign "+" as "+0.0025 [-0.0041, +0.0092]"."""
        form = f"{sign}.4f"
        return f"{self.mean:{form}}" + ("" if self.low is None else f" [{self.low:{form}}, {self.high:{form}}]")


def mean_over_volumes(values: list[float] | np.ndarray) -> Mean | None:
    """Return the mean of a value per volume with its bootstrap interval; None of no values.

    Source: the percentile bootstrap of Efron and Tibshirani 1993; volumes are drawn with replacement.
    """
    if not len(values):
        return None
    known = np.asarray(values, float)
    mean = float(known.mean())
    if len(known) < 2:
        return Mean(mean, None, None, len(known))
    rng = np.random.default_rng(_SEED)
    # One resample at a time would be slow, all at once as large as their number times that of the volumes.
    means = np.concatenate(
        [known[rng.integers(len(known), size=(_RESAMPLES // 10, len(known)))].mean(axis=1) for _ in range(10)]
    )
    beyond = (100 - _COVERED) / 2
    low, high = np.percentile(means, (beyond, 100 - beyond))
    return Mean(mean, float(low), float(high), len(known))


def paired_test(differences: list[float] | np.ndarray, alternative: str = "two-sided") -> float:
    """Return how likely differences so far from 0 are by chance, one per volume: p of the Wilcoxon signed-rank test.

    Args:
        differences: of the figures of two networks on the same volume.
        alternative: as in SciPy: "two-sided", or "greater" where only a rise is asked for.

    Source: Wilcoxon 1945 (doi:10.2307/3001968), with SciPy; differences of 0 are left out.
    """
    from scipy.stats import wilcoxon

    known = np.asarray(differences, float)
    known = known[known != 0]
    return float(wilcoxon(known, alternative=alternative).pvalue) if len(known) else 1.0
