"""Confidence sets of where two learning curves agree: a paired t test, inverted (Fieller 1954).

A ratio of images has no standard error worth the name. But for any shift of one curve against the other the difference
between them is a mean over repetitions, which a t test can test. The 95 % confidence set holds every shift that this
test does not reject. It may reach to the last shift that the training sizes allow, and then it has no end there.

A repetition is a *unit*: a seed, or a test image. All is linear in the logarithms of the units' errors, so the t test
is exact but for one thing: a unit's error may be 0, so its logarithm is replaced by the tangent at the mean error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hybridvit.studies.statistics import Array, t_quantile

GRID = 201  # points at which a difference is evaluated; between them it is taken as linear


def pseudo_logs(errors: Array, floor: float) -> Array:
    """Logarithms of errors, linearised at the mean over units, so that their mean is the log of the mean error.

    Args:
        errors: ``[k, units]``, in [0, 1].
        floor: a smaller mean error counts as this.

    Returns:
        log(mean) + (error - mean) / mean, ``[k, units]``.
    """
    mean = errors.mean(axis=1, keepdims=True)
    floored = np.maximum(mean, floor)
    return np.log(floored) + (errors - mean) / floored


def point_weights(logs: Array, x: Array) -> Array:
    """Weights of the values at ``logs [k]`` in their linear interpolation at ``x [g]``, ``[g, k]``."""
    x = np.clip(x, logs[0], logs[-1])
    return np.stack([np.interp(x, logs, hat) for hat in np.eye(len(logs))], axis=1)


def mean_weights(logs: Array, start: Array, end: Array) -> Array:
    """Weights of the values at ``logs [k]`` in the mean of their linear interpolation from start to end.

    Args:
        logs: where the values stand, rising, ``[k]``.
        start: where each mean begins, ``[g]``, within them.
        end: where it ends, ``[g]``; a range of no length is its point.

    Returns:
        ``[g, k]``, rows that sum to 1.
    """
    length = end - start
    point = length <= 1e-9 * (logs[-1] - logs[0])
    area = (_area(logs, end) - _area(logs, start)) / np.where(point, 1.0, length)[:, None]
    return np.where(point[:, None], point_weights(logs, start), area)


def _area(logs: Array, x: Array) -> Array:
    """Integral from the first of ``logs`` to x of each value's hat function, ``[g, k]``."""
    x = np.clip(x, logs[0], logs[-1])
    gap = np.diff(logs)
    inside = np.clip((x[:, None] - logs[:-1]) / gap, 0, 1)  # how far x is through each gap, [g, k-1]
    rising, falling = gap * inside**2 / 2, gap * (inside - inside**2 / 2)
    area = np.zeros((len(x), len(logs)))
    area[:, 1:] += rising
    area[:, :-1] += falling
    return area


class Difference(NamedTuple):
    """The mean over units of a difference between two curves, at each of several points.

    Attributes:
        points: where, rising, ``[g]``; where the mean changes its sign there is a point.
        mean: ``[g]``.
        half: half of the width of its 95 % t interval, ``[g]``; NaN below 3 units.
    """

    points: Array
    mean: Array
    half: Array

    def falls_through_zero(self) -> Array:
        """The points where the mean goes from above 0 to below, rising."""
        return self._crossings(1.0)

    def rises_through_zero(self) -> Array:
        """The points where the mean goes from below 0 to above, rising."""
        return self._crossings(-1.0)

    def _crossings(self, sign: float) -> Array:
        """Where the mean, times sign, goes from above 0 to below; the last point of a stretch at 0."""
        nonzero = np.flatnonzero(self.mean)
        before, after = nonzero[:-1], nonzero[1:]
        change = (sign * self.mean[before] > 0) & (sign * self.mean[after] < 0)
        return self.points[after[change] - 1]

    def confidence_set(self) -> tuple[float, float] | None:
        """The first and the last point at which a mean of 0 is not rejected; None where it is everywhere."""
        excess = np.abs(self.mean) - self.half
        inside = np.flatnonzero(excess <= 0)
        if not len(inside):
            return None
        return self._end(excess, inside[0], -1), self._end(excess, inside[-1], 1)

    def _end(self, excess: Array, index: int, step: int) -> float:
        """Where the excess is 0 between a point inside and its neighbour outside; at the edge, the edge."""
        outside = index + step
        if not 0 <= outside < len(self.points):
            return float(self.points[index])
        share = excess[index] / (excess[index] - excess[outside])
        return float(self.points[index] + share * (self.points[outside] - self.points[index]))


def difference(points: Array, weights: Array, values: Array) -> Difference:
    """A difference that is linear in values, with its t interval over units.

    Args:
        points: where it is evaluated, rising, ``[g]``.
        weights: of the values in the difference at each point, ``[g, j]``.
        values: ``[j, units]``.
    """
    units = values.shape[1]
    mean = weights @ values.mean(axis=1)
    if units > 1:
        spread = values - values.mean(axis=1, keepdims=True)
        variance = ((weights @ (spread @ spread.T)) * weights).sum(axis=1) / (units - 1)
    else:
        variance = np.zeros(len(points))
    half = t_quantile(units) * np.sqrt(np.maximum(variance, 0.0) / units)
    change = np.flatnonzero(mean[:-1] * mean[1:] < 0)
    share = mean[change] / (mean[change] - mean[change + 1])
    zeros = points[change] + share * (points[change + 1] - points[change])
    half_there = half[change] + share * (half[change + 1] - half[change])
    return Difference(
        np.insert(points, change + 1, zeros),
        np.insert(mean, change + 1, 0.0),
        np.insert(half, change + 1, half_there),
    )
