"""The inverted t test against scipy's t test, root finding and integration."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from hybridvit.studies.learning_curve.fieller import Difference, difference, mean_weights, point_weights, pseudo_logs

LOGS = np.log([90.0, 225.0, 570.0, 1437.0])


def test_pseudo_logs_by_hand():
    """A mean of 0.2: errors of 0.1 and 0.3 are half of it off."""
    found = pseudo_logs(np.array([[0.1, 0.3], [0.0, 0.0]]), 0.01)
    log = np.log(0.2)
    np.testing.assert_allclose(found, [[log - 0.5, log + 0.5], [np.log(0.01)] * 2])


def test_point_weights_interpolate():
    values, x = np.array([3.0, -1.0, 2.0, 0.5]), np.linspace(LOGS[0], LOGS[-1], 17)
    np.testing.assert_allclose(point_weights(LOGS, x) @ values, np.interp(x, LOGS, values))


def test_mean_weights_integrate():
    values, rng = np.array([3.0, -1.0, 2.0, 0.5]), np.random.default_rng(0)
    start, end = np.sort(rng.uniform(LOGS[0], LOGS[-1], (2, 20)), axis=0)
    means = mean_weights(LOGS, start, end) @ values
    for a, b, mean in zip(start, end, means, strict=True):
        knots = [x for x in LOGS if a < x < b]
        area, _ = integrate.quad(lambda x: np.interp(x, LOGS, values), a, b, points=knots)
        assert mean == pytest.approx(area / (b - a))
    np.testing.assert_allclose(mean_weights(LOGS, LOGS, LOGS), np.eye(4))  # of a point: its value


def test_a_difference_is_a_t_interval_at_every_point():
    rng = np.random.default_rng(1)
    values, points = rng.normal(size=(4, 6)), np.linspace(LOGS[0], LOGS[-1], 9)
    found = difference(points, point_weights(LOGS, points), values)
    for x, mean, half in zip(*found, strict=True):
        by_unit = np.array([np.interp(x, LOGS, column) for column in values.T])
        expected = stats.ttest_1samp(by_unit, 0).confidence_interval(0.95)
        assert mean == pytest.approx(by_unit.mean(), abs=1e-12)
        if x in points:
            assert half == pytest.approx((expected.high - expected.low) / 2)


def test_the_ends_of_a_set_are_where_the_test_just_rejects():
    rng = np.random.default_rng(2)
    values, points = (
        np.array([[2.0], [0.5], [-0.5], [-2.0]]) + rng.normal(size=(4, 6)),
        np.linspace(*LOGS[[0, -1]], 201),
    )
    low, high = difference(points, point_weights(LOGS, points), values).confidence_set()

    def p_value(x):
        return stats.ttest_1samp([np.interp(x, LOGS, column) for column in values.T], 0).pvalue

    root = optimize.brentq(lambda x: np.interp(x, LOGS, values.mean(axis=1)), *LOGS[[0, -1]])
    assert p_value(root) == pytest.approx(1)
    assert low == pytest.approx(optimize.brentq(lambda x: p_value(x) - 0.05, LOGS[0], root), abs=1e-4)
    assert high == pytest.approx(optimize.brentq(lambda x: p_value(x) - 0.05, root, LOGS[-1]), abs=1e-4)


def test_zeros_by_hand():
    curve = Difference(np.arange(7.0), np.array([1.0, 0, -1, -1, 0, 0, 2]), np.zeros(7))
    np.testing.assert_array_equal(curve.falls_through_zero(), [1])
    np.testing.assert_array_equal(curve.rises_through_zero(), [5])
    between = difference(np.array([0.0, 1.0]), np.eye(2), np.array([[3.0, 3.0, 3.0], [-1.0, -1.0, -1.0]]))
    np.testing.assert_allclose(between.falls_through_zero(), [0.75])
    assert between.confidence_set() == (0.75, 0.75)  # no spread
