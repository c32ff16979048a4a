"""What a study's 95 % intervals cover, by simulation: how often they hold a truth that is known.

Noise is normal or has the skewness 1 of a gamma distribution of shape 4. Half of its variance is shared by the models
of a seed, as nested subsets share it. Errors fall from 0.32 at 90 images to 0.08 at 1,437, and vary by 10 % of
themselves.

All draws are seeded, so the tests cannot fail by chance. How far a share may lie from 95 % by chance alone was counted
in: of 1,500 studies its standard error is 0.56 points, and 93 and 98 % lie 3.5 and 5 of them away.

What bounds the coverage is Student's t, which assumes that a mean is normal. A mean of a few draws with skewness 2 is
not, and is covered by 88 to 90 % (:func:`test_what_strong_skewness_costs`). Paired differences of two such draws are
symmetric, and are covered.
"""

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from hybridvit.studies.learning_curve.crossover import crossover
from hybridvit.studies.learning_curve.equivalence import equivalence, equivalence_at
from hybridvit.studies.multitask.deltas import relative_gain
from hybridvit.studies.statistics import mean_interval

SIZES = np.array([90.0, 225.0, 570.0, 1437.0])
STUDIES = 1500
LEAST, MOST = 93.0, 98.0  # %
SEEDS = (3, 5, 7, 10)
NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: (rng.gamma(4, size=shape) - 4) / 2,
}
setting = pytest.mark.parametrize(("noise", "seeds"), [(noise, seeds) for noise in NOISES for seeds in SEEDS])


def curve(images, asymptote=0.0):
    """Mean error of the reference with so many images."""
    return asymptote + 3 * images**-0.5


def paired(rng, noise, means, seeds, spread=0.1):
    """Errors ``[k, seeds]`` of several models, of mean errors ``[k]`` each."""
    draw = partial(NOISES[noise], rng, (len(means[0]), seeds))
    shared = draw()
    return [mean[:, None] * (1 + spread * (shared + draw()) / np.sqrt(2)) for mean in means]


def share(hits):
    """How many are true, in %."""
    return 100 * np.mean(hits)


def covered(intervals, truth):
    """How many of the intervals hold the truth, in %."""
    return share([interval.low <= truth <= interval.high for interval in intervals])


@setting
def test_a_mean_and_a_paired_difference(noise, seeds):
    """A mean accuracy of 90 %, a difference of 2 points, and no difference."""
    rng = np.random.default_rng(seeds)
    errors = np.array([0.1]), np.array([0.12]), np.array([0.1])
    draws = [[model[0] for model in paired(rng, noise, errors, seeds)] for _ in range(2 * STUDIES)]
    assert LEAST <= covered([mean_interval(1 - first) for first, _, _ in draws], 0.9) <= MOST
    assert LEAST <= covered([mean_interval(second - first) for first, second, _ in draws], 0.02) <= MOST
    assert 100 - covered([mean_interval(third - first) for first, _, third in draws], 0) <= 6


@setting
def test_delta_over_two_tasks(noise, seeds):
    """Δm of −3 %: an accuracy that falls by 4 % and an error that rises by 2 %, each by 2 points more or less."""
    rng = np.random.default_rng(seeds)
    better = {"a": {"accuracy": True}, "b": {"mae": False}}
    alone = {"a": {"accuracy": 0.9}, "b": {"mae": 0.2}}
    intervals = []
    for _ in range(2 * STUDIES):
        gains = 0.02 * NOISES[noise](rng, (seeds, 2))
        joint = [{"a": {"accuracy": 0.9 * (0.96 + a)}, "b": {"mae": 0.2 * (1.02 - b)}} for a, b in gains]
        intervals.append(mean_interval(np.array([relative_gain(one, alone, better).mean for one in joint])))
    assert LEAST <= covered(intervals, -3) <= MOST


@setting
@pytest.mark.parametrize(("factor", "asymptote"), [(1, 0), (2.5, 0), (2.5, 0.05), (8, 0), (8, 0.05)])
def test_a_factor_over_all_sizes(noise, seeds, factor, asymptote):
    rng = np.random.default_rng(seeds)
    means = curve(SIZES, asymptote), curve(factor * SIZES, asymptote)
    factors = [equivalence(SIZES, *paired(rng, noise, means, seeds)) for _ in range(STUDIES)]
    assert LEAST <= covered(factors, factor) <= MOST
    if factor == 1:
        assert 100 - covered(factors, 1) <= 6


@setting
@pytest.mark.parametrize(("factor", "index"), [(1, 1), (2.5, 1), (5, 0), (0.3, 2)])
def test_a_factor_at_one_size(noise, seeds, factor, index):
    """Of a reference that is linear between its sizes in log-log, as is assumed."""
    rng = np.random.default_rng(seeds)
    means = curve(SIZES), curve(factor * SIZES)
    factors = [equivalence_at(SIZES, *paired(rng, noise, means, seeds), index) for _ in range(STUDIES)]
    assert LEAST <= covered(factors, factor) <= MOST


@setting
def test_a_factor_beyond_the_sizes_is_a_bound(noise, seeds):
    """A factor of 30 where 16 times the images separate the fewest from the most, and spreads of 10 and 30 %."""
    rng = np.random.default_rng(seeds)
    for spread, bounds in ((0.1, 100), (0.3, 90)):
        draws = (paired(rng, noise, (curve(SIZES), curve(30 * SIZES)), seeds, spread) for _ in range(500))
        factors = [equivalence(SIZES, *draw) for draw in draws]
        assert share([one.value == np.inf and one.bound == "at least" for one in factors]) >= bounds
        assert covered(factors, 30) >= 95


@setting
def test_a_crossover_that_is_resolved(noise, seeds):
    """At 350 images; nearly all studies of 5 seeds or more resolve it, and of 3 seeds a half."""
    rng = np.random.default_rng(seeds)
    steep, shallow = 0.2 * (SIZES / 350) ** -0.5, 0.2 * (SIZES / 350) ** -0.1
    found = [crossover(SIZES, *paired(rng, noise, (shallow, steep), seeds)) for _ in range(STUDIES)]
    resolved = [one for one in found if one is not None]
    assert len(resolved) > STUDIES / 3
    assert LEAST <= covered(resolved, 350) <= MOST


@setting
def test_two_identical_models_do_not_cross(noise, seeds):
    rng = np.random.default_rng(seeds)
    draws = [paired(rng, noise, (curve(SIZES), curve(SIZES)), seeds) for _ in range(STUDIES)]
    crossed = [crossover(SIZES, a, b) is not None or crossover(SIZES, b, a) is not None for a, b in draws]
    assert share(crossed) <= 0.5


def answers(rng, means, images=360, seeds=3):
    """Share of seeds that get each test image wrong, ``[k, images]`` of several models; images differ in difficulty."""
    difficulty = 2 * rng.normal(size=images)
    thresholds = [norm.ppf(mean)[:, None] * np.sqrt(1 + 2**2) for mean in means]
    return [rng.binomial(seeds, norm.cdf(threshold + difficulty)) / seeds for threshold in thresholds]


@pytest.mark.parametrize(("factor", "asymptote"), [(1, 0.0), (2.5, 0.0), (2.5, 0.02), (5, 0.0)])
def test_over_360_test_images(factor, asymptote):
    """The same routines with images for units: 3 seeds, and errors from 13 % down to 1.4 %."""
    rng = np.random.default_rng(0)
    means = curve(SIZES, asymptote) * 0.4, curve(factor * SIZES, asymptote) * 0.4
    draws = [answers(rng, means) for _ in range(1000)]
    over_all = [equivalence(SIZES, *draw, floor=0.5 / 360) for draw in draws]
    at_one = [equivalence_at(SIZES, *draw, int(factor < 5), floor=0.5 / 360) for draw in draws]
    assert LEAST <= covered(over_all, factor) <= MOST
    assert LEAST <= covered(at_one, factor) <= MOST
    if factor == 1:
        assert 100 - covered(over_all, 1) <= 6


def test_a_crossover_over_360_test_images():
    rng = np.random.default_rng(0)
    steep, shallow = 0.1 * (SIZES / 350) ** -0.6, 0.1 * (SIZES / 350) ** -0.1
    found = [crossover(SIZES, *answers(rng, (shallow, steep)), floor=0.5 / 360) for _ in range(1000)]
    resolved = [one for one in found if one is not None]
    assert len(resolved) > 500
    assert LEAST <= covered(resolved, 350) <= MOST


@pytest.mark.parametrize("seeds", SEEDS)
def test_what_strong_skewness_costs(seeds):
    """Skewness 2, exponential draws: Student's t covers their mean by 88 to 90 %, but paired differences by 95 %."""
    rng = np.random.default_rng(seeds)
    draws = rng.exponential(size=(4000, 2, seeds))
    assert 86.5 <= covered([mean_interval(draw) for draw, _ in draws], 1) <= 91.5
    assert LEAST <= covered([mean_interval(a - b) for a, b in draws], 0) <= MOST
