"""Statistics against hand-computed values, scipy and enumeration. What the intervals cover: test_coverage.py."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hybridvit.studies.claims import adjusted_p, claim
from hybridvit.studies.statistics import Interval, holm, mean_interval, seeds_needed, sign_flip_p, t_quantile


@pytest.mark.parametrize("n", [3, 5, 13])
def test_mean_interval_agrees_with_scipy(n):
    values = np.random.default_rng(3).exponential(size=n)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((values.mean(), expected.low, expected.high))


def test_mean_interval_by_hand():
    """Mean 2, standard error 1/√3, and 4.3027 is the quantile of t with two degrees of freedom."""
    half = 4.302653 / np.sqrt(3)
    assert mean_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2, 2 - half, 2 + half))


def test_too_few_repetitions_have_no_interval():
    for few in (np.array([0.1]), np.array([0.1, 0.9])):
        value, low, high = mean_interval(few)
        assert value == pytest.approx(few.mean())
        assert np.isnan([low, high]).all()


def test_no_spread_is_an_interval_of_no_width():
    assert mean_interval(np.full(5, 0.25)) == (0.25, 0.25, 0.25)


def test_an_interval_ends_where_the_quantity_does():
    assert Interval(0.99, 0.97, 1.01).within(0, 1) == (0.99, 0.97, 1.0)
    assert np.isnan(Interval(0.99, np.nan, np.nan).within(0, 1)[1:]).all()


def test_several_intervals_that_hold_together_are_wider():
    assert t_quantile(5) == pytest.approx(2.776445)
    assert t_quantile(5, comparisons=4) == pytest.approx(stats.t.ppf(1 - 0.05 / 8, 4))
    assert np.isnan(t_quantile(2))


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


@pytest.mark.parametrize(("comparisons", "seeds"), [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9)])
def test_seeds_needed_is_the_fewest_that_can_be_significant(comparisons, seeds):
    assert seeds_needed(comparisons) == seeds
    assert comparisons * 2.0 ** (1 - seeds) <= 0.05 < comparisons * 2.0 ** (2 - seeds)


def test_a_comparison_with_too_few_seeds_still_counts():
    seven, six = np.arange(1.0, 8), np.arange(1.0, 7)
    p_values = adjusted_p({"a": seven, "b": seven * [1, -1, 1, -1, 1, -1, 1], "c": six})
    assert p_values["a"] == pytest.approx(3 / 64)  # the smallest p of seven seeds, three times
    assert p_values["b"] == pytest.approx(min(1.0, 2 * sign_flip_p(seven * [1, -1, 1, -1, 1, -1, 1])))
    assert p_values["c"] is None
    assert adjusted_p({"c": six}) == {"c": pytest.approx(1 / 32)}


def test_a_claim_says_what_is_claimed_and_what_is_not():
    assert claim({"A": 0.02, "B": 0.3, "C": None}, 8, "the difference in accuracy") == (
        "Claimed to differ from 0: A (p = 0.020). Not claimed: B (p = 0.300). Not tested for want of seeds: C; "
        "3 comparisons need 7. The test: exact two-sided sign-flip test of the difference in accuracy, paired by "
        "seed, Holm-adjusted for 3 comparisons, at 5 %."
    )


def test_a_claim_without_enough_seeds_says_how_many_are_needed():
    assert claim({"A": None, "B": None}, 3, "Δm").startswith(
        "No difference is claimed. 3 seeds are too few to claim significance for 2 comparisons: 7 are needed. The test:"
    )
    assert "Below 3 there is no interval either." in claim({"A": None}, 2, "Δm")
    assert "1 seed is too few" in claim({"A": None}, 1, "Δm")
    assert claim({}, 3, "Δm") == "There is nothing to compare, so nothing is claimed."
    assert claim({"A": 0.2}, 6, "Δm").startswith("No difference is claimed. Not claimed: A (p = 0.200). The test:")


@pytest.mark.parametrize(
    ("low", "high", "sign"), [(0.1, 2.0, 1), (-2.0, -0.1, -1), (-0.1, 2.0, 0), (0.0, 2.0, 0), (np.nan, np.nan, 0)]
)
def test_an_interval_has_a_sign_where_it_leaves_out_0(low, high, sign):
    assert Interval(1.0, low, high).sign == sign
