"""Statistics of paired repetitions: intervals and tests."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

MIN_SEEDS_FOR_INTERVAL = 3
LEVEL = 0.95
SIGNIFICANT = 0.05


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval; the ends are NaN where there are too few repetitions."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0; 0 where it reaches 0, and where there is none."""
        return int(self.low > 0) - int(self.high < 0)

    def within(self, lowest: float, highest: float) -> Interval:
        """The interval with its ends no further out than a quantity can be."""
        low, high = np.clip([self.low, self.high], lowest, highest)
        return Interval(self.value, float(low), float(high))


@cache
def t_quantile(units: int, comparisons: int = 1) -> float:
    """How many standard errors a 95 % interval reaches to either side (Student's t); NaN below 3 units.

    Args:
        units: number of independent repetitions.
        comparisons: how many intervals shall hold together (Bonferroni).
    """
    if units < MIN_SEEDS_FOR_INTERVAL:
        return float("nan")
    return float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), units - 1))


def mean_interval(values: Array) -> Interval:
    """Mean over repetitions, ``[seeds]``, with Student's t interval.

    It covers 95 % where the mean is normal, and 88 to 90 % for 3 to 10 draws of a strongly skewed distribution
    (skewness 2). For paired differences give the differences.
    """
    count, value = len(values), float(np.mean(values))
    if count < MIN_SEEDS_FOR_INTERVAL:
        return Interval(value, np.nan, np.nan)
    half = t_quantile(count) * float(np.std(values, ddof=1)) / np.sqrt(count)
    return Interval(value, float(value - half), float(value + half))


def sign_flip_p(differences: Array) -> float:
    """Exact two-sided sign-flip test that paired differences ``[seeds]`` are symmetric about 0.

    It cannot fall below 2^(1 - seeds).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = stats.permutation_test(
            (differences,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", n_resamples=np.inf
        )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for testing several hypotheses (Holm 1979), in the given order."""
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(highest, 1.0)
    return [float(p) for p in adjusted]


def seeds_needed(comparisons: int) -> int:
    """Seeds from which on a sign-flip test can be significant after Holm's adjustment: 6, 7, 7, 8 for 1, 2, 3, 4.

    The smallest p value of n seeds is 2^(1 - n), and Holm multiplies the smallest one by the number of comparisons.
    """
    return 1 + ceil(log2(max(comparisons, 1) / SIGNIFICANT))
