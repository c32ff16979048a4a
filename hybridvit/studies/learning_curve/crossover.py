"""Where one learning curve overtakes another."""

from __future__ import annotations

import numpy as np

from hybridvit.studies.learning_curve.equivalence import SMALLEST
from hybridvit.studies.learning_curve.fieller import GRID, difference, point_weights, pseudo_logs
from hybridvit.studies.statistics import Array, Interval, t_quantile


def crossover(sizes: Array, behind: Array, ahead: Array, floor: float = SMALLEST) -> Interval | None:
    """Number of images at which one learning curve overtakes another; None where that is not resolved.

    It is resolved where the model behind has significantly fewer errors at some size, and significantly more at a later
    one: paired t tests over units, Bonferroni-adjusted for the k sizes. The interval holds every number of images
    between the two at which a paired t test does not reject that both are equal (Fieller 1954).

    Args:
        sizes: training sizes, rising, ``[k]``.
        behind: errors of the model that is overtaken, in [0, 1], ``[k, units]``; units are seeds or test images.
        ahead: errors of the one that overtakes it, paired by unit, ``[k, units]``.
        floor: what a smaller mean error counts as.
    """
    logs = np.log(sizes)
    lead = pseudo_logs(behind, floor) - pseudo_logs(ahead, floor)
    bracket = _bracket(lead)
    if bracket is None:
        return None
    first, last = logs[bracket[0]], logs[bracket[1]]
    inner = logs[(logs >= first) & (logs <= last)]
    points = np.union1d(np.linspace(first, last, GRID), inner)
    between = difference(points, point_weights(logs, points), lead)
    ends = between.confidence_set()
    assert ends is not None  # the lead changes its sign in between
    return Interval(*(float(np.exp(x)) for x in (between.rises_through_zero()[-1], *ends)))


def _bracket(lead: Array) -> tuple[int, int] | None:
    """The last size with a significant lag before one with a significant lead, and the first such lead; or None."""
    sizes, units = lead.shape
    if units < 2:
        return None
    mean = lead.mean(axis=1)
    half = t_quantile(units, sizes) * lead.std(axis=1, ddof=1) / np.sqrt(units)
    lags, leads = np.flatnonzero(mean < -half), np.flatnonzero(mean > half)
    lags = lags[lags < leads[-1]] if len(leads) else lags[:0]
    return (int(lags[-1]), int(leads[leads > lags[-1]][0])) if len(lags) else None


def overtakes(sizes: Array, behind: Array, ahead: Array) -> bool:
    """Whether mean errors say that one learning curve overtakes another, resolved or not.

    Args:
        sizes: training sizes, rising, ``[k]``.
        behind: errors of the model that is overtaken, ``[k, units]``.
        ahead: errors of the one that overtakes it, ``[k, units]``.
    """
    lead = behind.mean(axis=1) - ahead.mean(axis=1)
    return bool(lead[-1] > 0 and (lead < 0).any())
