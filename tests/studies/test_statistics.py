"""Statistics against hand-computed values, scipy and enumeration."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hybridvit.studies.statistics import (
    bootstrap,
    crossover,
    crossover_interval,
    equivalence,
    equivalence_at,
    equivalence_interval,
    holm,
    images_needed,
    mean_interval,
    sign_flip_p,
)

SIZES = np.array([100.0, 300.0, 900.0, 2700.0])
POWER_LAW = 10 * SIZES**-0.5


def test_mean_interval_agrees_with_scipy():
    values = np.random.default_rng(3).exponential(size=13)
    ours = mean_interval(values)
    scipy = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(scipy.low, abs=0.04 * values.std())
    assert ours.high == pytest.approx(scipy.high, abs=0.08 * values.std())


def test_too_few_repetitions_have_no_interval():
    low, high = mean_interval(np.array([0.1, 0.9]))[1:]
    assert np.isnan(low)
    assert np.isnan(high)


def test_no_spread_is_an_interval_of_no_width():
    assert mean_interval(np.full(5, 0.25)) == (0.25, 0.25, 0.25)


def test_bootstrap_covers():
    """A 95 % interval of the mean of 8 normal draws holds the true mean most of the time."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(150):
        draws = rng.normal(size=8)
        _, low, high = bootstrap(8, lambda index, draws=draws: draws[index].mean())
        held += low <= 0 <= high
    assert 0.80 < held / 150 < 0.99


@pytest.mark.parametrize("n", [3, 6])
def test_sign_flip_equals_enumeration(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    flips = [abs(np.mean(differences * signs)) for signs in product((-1, 1), repeat=n)]
    expected = np.mean(np.array(flips) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flip_cannot_fall_below_its_bound():
    assert sign_flip_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])) == pytest.approx(2**-5)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_images_needed_on_a_power_law_is_exact():
    for n in (100.0, 250.0, 2000.0, 2700.0):
        assert images_needed(SIZES, POWER_LAW, 10 * n**-0.5) == pytest.approx(n)


def test_images_needed_beyond_the_sizes():
    assert images_needed(SIZES, POWER_LAW, POWER_LAW[-1] / 2) == np.inf
    assert images_needed(SIZES, POWER_LAW, POWER_LAW[0] * 2) == 0.0


def test_images_needed_of_a_curve_that_rises_again():
    assert images_needed(SIZES, np.array([0.4, 0.1, 0.2, 0.1]), 0.1) == pytest.approx(300.0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.7])
def test_equivalence_recovers_a_known_factor(factor):
    """A model whose n images do what factor * n do for the reference."""
    model = 10 * (factor * SIZES) ** -0.5
    assert equivalence(SIZES, POWER_LAW, model) == pytest.approx(factor, rel=1e-6)
    assert equivalence_at(SIZES, POWER_LAW, model, 1) == pytest.approx(factor, rel=1e-6)


def test_equivalence_of_curves_that_do_not_meet():
    assert equivalence(SIZES, POWER_LAW, POWER_LAW / 100) == np.inf
    assert equivalence(SIZES, POWER_LAW, POWER_LAW * 100) == 0.0


def test_equivalence_interval_holds_the_truth_and_is_paired():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 0.3, size=(1, 7))  # what makes a seed easy or hard for every model
    reference = POWER_LAW[:, None] * np.exp(shared)
    model = (10 * (3 * SIZES) ** -0.5)[:, None] * np.exp(shared)
    value, low, high = equivalence_interval(SIZES, reference, model)
    assert value == pytest.approx(3, rel=1e-6)
    assert high - low < 1e-6


def test_crossover_of_two_power_laws_is_exact():
    """10 n^-1/2 and 2 n^-1/4 meet at n = 5^4."""
    shallow, steep = 2 * SIZES**-0.25, POWER_LAW
    assert crossover(SIZES, shallow, steep) == pytest.approx(625, rel=1e-9)
    assert crossover(SIZES, steep, shallow) == np.inf  # is behind at the largest size


def test_crossover_of_curves_that_do_not_cross():
    assert crossover(SIZES, 2 * POWER_LAW, POWER_LAW) == 0.0
    assert crossover(SIZES, POWER_LAW, 2 * POWER_LAW) == np.inf
    assert crossover(SIZES, POWER_LAW, POWER_LAW) == np.inf  # nobody is ahead


def test_the_last_of_several_crossings_counts():
    behind, ahead = np.array([0.4, 0.4, 0.4, 0.4]), np.array([0.2, 0.8, 0.4, 0.2])
    assert crossover(SIZES, behind, ahead) == pytest.approx(900)  # level there, and ahead from there on


def test_crossover_interval_is_paired_and_may_reach_beyond_the_sizes():
    rng = np.random.default_rng(5)
    shared = np.exp(rng.normal(0, 0.3, size=(1, 7)))  # what makes a seed easy or hard for every model
    shallow, steep = (2 * SIZES**-0.25)[:, None] * shared, POWER_LAW[:, None] * shared
    value, low, high = crossover_interval(SIZES, shallow, steep)
    assert (value, low, high) == pytest.approx((625, 625, 625), rel=1e-9)
    apart = np.exp(np.linspace(-1.5, 1.5, 7))[None]  # seeds that shift one curve alone: many cross nowhere
    value, low, high = crossover_interval(SIZES, shallow, steep * apart / apart.mean())
    assert 500 < value < 900
    assert (low, high) == (0, np.inf)
    few = crossover_interval(SIZES, shallow[:, :2], steep[:, :2])
    assert few.value == pytest.approx(625)
    assert np.isnan(few.low)
    assert np.isnan(few.high)
