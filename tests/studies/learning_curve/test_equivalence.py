"""Data-equivalence factors of curves whose factor is known. What their intervals cover: test_coverage.py."""

import json

import numpy as np
import pytest
from scipy import stats

from hybridvit.studies.learning_curve.equivalence import Factor, equivalence, equivalence_at, rises, shared_errors

SIZES = np.array([100.0, 300.0, 900.0, 2700.0])
POWER_LAW = 2 * SIZES**-0.5


def seeds(curve, *noise):
    """A curve in as many seeds as there are factors."""
    return np.outer(curve, noise or (1.0, 1.0, 1.0))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.7, 8.5])
def test_a_known_factor(factor):
    """A model whose n images do what factor * n do for the reference, without noise."""
    model = 2 * (factor * SIZES) ** -0.5
    found = equivalence(SIZES, seeds(POWER_LAW), seeds(model))
    assert (found.value, found.low, found.high) == pytest.approx((factor,) * 3, rel=1e-6)
    at = equivalence_at(SIZES, seeds(POWER_LAW), seeds(model), 1)
    assert at.value == pytest.approx(factor if factor > 1 / 3 else 0, rel=1e-6)
    assert found.bound is None


def test_what_makes_a_seed_hard_for_both_models_does_not_widen_the_interval():
    noise = (0.7, 0.9, 1.0, 1.4)
    model = 2 * (3 * SIZES) ** -0.5
    found = equivalence(SIZES, seeds(POWER_LAW, *noise), seeds(model, *noise))
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3), rel=1e-6)
    apart = equivalence(SIZES, seeds(POWER_LAW, *noise), seeds(model, *noise[::-1]))
    assert apart.low < 2 < 4 < apart.high


def test_one_size_by_hand():
    """Only the model is noisy: the interval of its log error, times two, because errors fall as n^-1/2."""
    noise = np.array([0.8, 1.0, 1.2])
    found = equivalence_at(SIZES, seeds(POWER_LAW), seeds(2 * (3 * SIZES) ** -0.5, *noise), 1)
    half = stats.t.ppf(0.975, 2) * 0.2 / np.sqrt(3)
    ends = np.array([3 * np.exp(-2 * half), 3 * np.exp(2 * half)])
    assert found.value == pytest.approx(3)
    assert found.low == pytest.approx(ends[0], rel=1e-3)
    assert (found.high, found.bound) == (pytest.approx(ends[1], rel=1e-3), None)
    wide = equivalence_at(SIZES, seeds(POWER_LAW), seeds(2 * (3 * SIZES) ** -0.5, *noise), 2)
    assert wide.value == pytest.approx(3)
    assert (wide.high, wide.bound) == (np.inf, "at least")  # 900 times 8 lies beyond the sizes


def test_beyond_the_sizes_it_is_a_bound():
    """27 times the images separate the fewest from the most."""
    found = equivalence(SIZES, seeds(POWER_LAW), seeds(POWER_LAW / 10))  # a factor of 100
    assert (found.value, found.low, found.high) == (np.inf, pytest.approx(27), np.inf)
    assert (found.bound, str(found)) == ("at least", "more than 27×")
    found = equivalence(SIZES, seeds(POWER_LAW), seeds(np.minimum(POWER_LAW * 10, 1)))
    assert (found.value, found.low, found.high) == (0, 0, pytest.approx(1 / 27))
    assert (found.bound, str(found)) == ("at most", "less than 0.04×")


def test_a_bound_that_noise_makes_weaker():
    noise = (0.8, 0.9, 1.2, 1.1)
    found = equivalence(SIZES, seeds(POWER_LAW, *noise), seeds(POWER_LAW / 30**0.5, *noise[::-1]))
    assert found.value == np.inf
    assert 5 < found.low < 27
    assert str(found) == f"at least {found.low:.0f}×"


@pytest.mark.parametrize(
    ("value", "low", "high", "text", "bound"),
    [
        (2.5, 1.8, 3.14, "2.5× (1.8 to 3.1)", None),
        (0.5, 0.25, 12.3, "0.50× (0.25 to 12)", None),
        (9.1, 5.2, np.inf, "9.1× (at least 5.2)", "at least"),
        (0.2, 0, 0.6, "0.20× (at most 0.60)", "at most"),
        (np.inf, 12, np.inf, "at least 12×", "at least"),
        (np.inf, 16, np.inf, "more than 16×", "at least"),
        (0.0, 0, 0.5, "at most 0.50×", "at most"),
        (1.2, 0, np.inf, "not resolved", None),
        (np.inf, 0, np.inf, "not resolved", None),
        (2.5, np.nan, np.nan, "2.5×", None),
        (np.inf, np.nan, np.nan, "more than 16×", "at least"),
    ],
)
def test_in_words(value, low, high, text, bound):
    factor = Factor(value, low, high, 1 / 16, 16)
    assert (str(factor), factor.bound, factor.resolved) == (text, bound, text != "not resolved")
    assert "Infinity" not in json.dumps(factor.as_json(), allow_nan=False)


def test_in_json():
    assert Factor(np.inf, 12, np.inf, 1 / 16, 16).as_json() == {
        "factor": None,
        "interval": [12, None],
        "bound": "at least",
    }
    assert Factor(2.5, 1.8, 3.1, 1 / 16, 16).as_json() == {"factor": 2.5, "interval": [1.8, 3.1], "bound": None}


def test_two_seeds_have_no_interval():
    found = equivalence(SIZES, seeds(POWER_LAW, 1, 1.1), seeds(2 * (3 * SIZES) ** -0.5, 1, 1.1))
    assert found.value == pytest.approx(3)
    assert np.isnan([found.low, found.high]).all()
    assert equivalence(SIZES, POWER_LAW[:, None], POWER_LAW[:, None] / 3**0.5).value == pytest.approx(3)


def test_a_single_size_and_an_error_of_zero_have_an_answer():
    one = np.array([100.0])
    assert str(equivalence(one, np.full((1, 3), 0.2), np.full((1, 3), 0.1))) == "more than 1.0×"
    found = equivalence(SIZES, seeds(POWER_LAW), seeds(0 * SIZES), floor=0.5 / 360)
    assert str(found) == "more than 27×"


def test_shared_errors():
    assert shared_errors(seeds([0.4, 0.2]), seeds([0.3, 0.1])) == pytest.approx((0.2, 0.3))
    assert shared_errors(seeds([0.4, 0.2]), seeds([0.1, 0.05])) is None


def test_sizes_at_which_an_error_rises():
    assert rises(SIZES, seeds([0.4, 0.2, 0.3, 0.25])) == (900, 2700)
    assert rises(SIZES, seeds(POWER_LAW)) == ()
