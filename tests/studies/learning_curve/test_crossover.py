"""Crossings of curves that cross at a known number of images. What their intervals cover: test_coverage.py."""

import numpy as np
import pytest

from hybridvit.studies.learning_curve.crossover import crossover, overtakes

SIZES = np.array([100.0, 300.0, 900.0, 2700.0])
SHALLOW, STEEP = 0.4 * SIZES**-0.25, 2 * SIZES**-0.5  # they meet at 5^4


def seeds(curve, *noise):
    return np.outer(curve, noise or (1.0, 1.0, 1.0))


def test_two_power_laws():
    """2 n^-1/2 and 0.4 n^-1/4 meet at n = 625."""
    assert crossover(SIZES, seeds(SHALLOW), seeds(STEEP)) == pytest.approx((625, 625, 625), rel=1e-6)
    assert crossover(SIZES, seeds(STEEP), seeds(SHALLOW)) is None  # is behind at the largest size


def test_curves_that_do_not_cross():
    for behind, ahead in ((2 * STEEP, STEEP), (STEEP, 2 * STEEP), (STEEP, STEEP)):
        assert crossover(SIZES, seeds(behind), seeds(ahead)) is None
        assert not overtakes(SIZES, seeds(behind), seeds(ahead))


def test_the_last_of_several_crossings_counts():
    behind, ahead = np.array([0.4, 0.4, 0.4, 0.4]), np.array([0.2, 0.8, 0.5, 0.2])
    found = crossover(SIZES, seeds(behind), seeds(ahead))
    share = np.log(1.25) / np.log(2.5)
    assert found.value == pytest.approx(900 * 3**share)


def test_it_is_paired():
    noise = (0.7, 0.9, 1.0, 1.4)
    found = crossover(SIZES, seeds(SHALLOW, *noise), seeds(STEEP, *noise))
    assert found == pytest.approx((625, 625, 625), rel=1e-6)
    assert crossover(SIZES, seeds(SHALLOW, *noise), seeds(STEEP, *noise[::-1])) is None


def test_an_interval_lies_between_the_two_leads():
    found = crossover(SIZES, seeds(SHALLOW, 1, 1.02, 0.98, 1.01), seeds(STEEP, 1, 0.99, 1.02, 1.01))
    assert 300 < found.low < found.value < found.high < 2700
    assert found.value == pytest.approx(625, rel=0.05)


def test_a_crossing_that_the_seeds_do_not_resolve_is_none():
    behind = np.array([[0.30, 0.32, 0.28], [0.2, 0.21, 0.19]])
    ahead = np.array([[0.31, 0.30, 0.33], [0.1, 0.1, 0.1]])
    assert crossover(np.array([30.0, 70.0]), behind, ahead) is None
    assert overtakes(np.array([30.0, 70.0]), behind, ahead)
    assert crossover(SIZES, seeds(SHALLOW, 1, 1), seeds(STEEP, 1, 1)) is None  # two seeds resolve nothing
