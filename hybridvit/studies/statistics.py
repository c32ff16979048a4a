"""Statistics of paired repetitions: intervals, tests, and how many images a bias is worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

MIN_SEEDS_FOR_INTERVAL = 3
MIN_SEEDS_FOR_CLAIM = 6
RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and its 95 % interval; the ends are NaN where there are too few repetitions."""

    value: float
    low: float
    high: float


def bootstrap(count: int, statistic: Callable[[NDArray[np.int64]], float]) -> Interval:
    """A BCa bootstrap over repetitions (Efron 1987), seeded.

    Args:
        count: number of repetitions, 0 .. count-1.
        statistic: maps the indices of repetitions, with repeats, to a number.
    """
    every = np.arange(count)
    value = float(statistic(every))
    if count < MIN_SEEDS_FOR_INTERVAL:
        return Interval(value, np.nan, np.nan)
    resampled = np.array([statistic(row) for row in _drawn(count)])
    left_out = np.array([statistic(np.delete(every, i)) for i in every])
    return _bca(value, resampled, left_out)


def _drawn(count: int) -> NDArray[np.int64]:
    """The resamples, ``[RESAMPLES, count]`` indices."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _bca(value: float, resampled: Array, left_out: Array) -> Interval:
    """The interval from the statistic of all resamples, and of all but each repetition."""
    if np.ptp(resampled) == 0:
        return Interval(value, value, value)
    below = np.mean(resampled < value) + 0.5 * np.mean(resampled == value)
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    spread = left_out.mean() - left_out
    scale = 6 * (spread**2).sum() ** 1.5
    acceleration = (spread**3).sum() / scale if scale else 0.0
    z = bias + stats.norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.quantile(resampled, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return Interval(value, float(low), float(high))


def mean_interval(values: Array) -> Interval:
    """Mean over repetitions, ``[seeds]``, with its interval."""
    count, value = len(values), float(values.mean())
    if count < MIN_SEEDS_FOR_INTERVAL:
        return Interval(value, np.nan, np.nan)
    return _bca(value, values[_drawn(count)].mean(axis=1), (values.sum() - values) / (count - 1))


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


def images_needed(sizes: Array, errors: Array, error: float) -> float:
    """Images at which a learning curve reaches an error, linear between its points in log-log.

    Args:
        sizes: training sizes, rising, ``[k]``.
        errors: error at each, positive, ``[k]``; made to fall by its running minimum.
        error: what to reach.

    Returns:
        Number of images; inf where even the largest size does not reach it, 0 where the smallest is
        already better.
    """
    falling = np.minimum.accumulate(errors)
    if error < falling[-1]:
        return np.inf
    if error > falling[0]:
        return 0.0
    first = int(np.argmax(falling <= error))  # the first size at which it is reached
    if first == 0:
        return float(sizes[0])
    x = np.log(sizes[first - 1 : first + 1])
    y = np.log(falling[first - 1 : first + 1])
    return float(np.exp(x[1] + (x[0] - x[1]) * (np.log(error) - y[1]) / (y[0] - y[1])))


def equivalence_at(sizes: Array, reference: Array, errors: Array, index: int) -> float:
    """How many times more images the reference needs for the error that a model has at one size.

    Args:
        sizes: training sizes, ``[k]``.
        reference: errors of the reference, ``[k]``.
        errors: errors of the model, ``[k]``.
        index: which size.

    Returns:
        The factor; inf where the reference does not get there with the largest size, 0 where it is
        better with the smallest.
    """
    return images_needed(sizes, reference, errors[index]) / sizes[index]


def equivalence(sizes: Array, reference: Array, errors: Array) -> float:
    """The data-equivalence factor: horizontal distance of two learning curves.

    The geometric mean, over the errors that both curves reach, of the images that the reference needs
    divided by those that the model needs.

    Returns:
        The factor; inf where the model is better with the smallest size than the reference with the
        largest, 0 the other way round.
    """
    ours, theirs = np.minimum.accumulate(errors), np.minimum.accumulate(reference)
    low, high = max(ours[-1], theirs[-1]), min(ours[0], theirs[0])
    if low > high:
        return np.inf if ours[0] < theirs[-1] else 0.0
    levels = np.clip(np.geomspace(low, high, 65), low, high)
    ratio = [images_needed(sizes, theirs, e) / images_needed(sizes, ours, e) for e in levels]
    return float(np.exp(np.mean(np.log(ratio))))


def equivalence_interval(sizes: Array, reference: Array, errors: Array) -> Interval:
    """:func:`equivalence` of the mean curves, with an interval over paired repetitions.

    Args:
        sizes: training sizes, ``[k]``.
        reference: errors of the reference, ``[k, seeds]``.
        errors: errors of the model, ``[k, seeds]``.
    """
    bound = sizes[-1] / sizes[0]

    def factor(index: NDArray[np.int64]) -> float:
        value = equivalence(sizes, reference[:, index].mean(axis=1), errors[:, index].mean(axis=1))
        return float(np.clip(value, 1 / bound, bound))

    return bootstrap(errors.shape[1], factor)


def crossover(sizes: Array, behind: Array, ahead: Array) -> float:
    """Images from which on one learning curve stays below another, both linear between their points in log-log.

    Args:
        sizes: training sizes, rising, ``[k]``.
        behind: errors of the model that is overtaken, positive, ``[k]``.
        ahead: errors of the one that overtakes it.

    Returns:
        Number of images; 0 where it is below at every size, inf where it is not below at the largest.
    """
    lead = np.log(behind) - np.log(ahead)
    if lead[-1] <= 0:
        return np.inf
    not_yet = np.flatnonzero(lead <= 0)
    if not len(not_yet):
        return 0.0
    last = not_yet[-1]
    share = lead[last] / (lead[last] - lead[last + 1])
    return float(np.exp((1 - share) * np.log(sizes[last]) + share * np.log(sizes[last + 1])))


def crossover_interval(sizes: Array, behind: Array, ahead: Array) -> Interval:
    """:func:`crossover` of the mean curves, with a percentile interval over paired repetitions.

    Its ends may be 0, before the smallest size, and inf, beyond the largest.

    Args:
        sizes: training sizes, ``[k]``.
        behind: errors of the model that is overtaken, ``[k, seeds]``.
        ahead: errors of the one that overtakes it, ``[k, seeds]``.
    """
    value = crossover(sizes, behind.mean(axis=1), ahead.mean(axis=1))
    count = behind.shape[1]
    if count < MIN_SEEDS_FOR_INTERVAL:
        return Interval(value, np.nan, np.nan)
    found = [crossover(sizes, behind[:, row].mean(axis=1), ahead[:, row].mean(axis=1)) for row in _drawn(count)]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Interval(value, float(low), float(high))
