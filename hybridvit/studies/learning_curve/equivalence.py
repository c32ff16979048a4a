"""The data-equivalence factor: how many times more images a reference needs for the same error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, isfinite, isnan
from typing import Any, Literal

import numpy as np

from hybridvit.studies.learning_curve.fieller import (
    GRID,
    Difference,
    difference,
    mean_weights,
    point_weights,
    pseudo_logs,
)
from hybridvit.studies.statistics import Array

SMALLEST = 1e-6  # what a mean error of 0 counts as, where the caller names nothing better


@dataclass(frozen=True)
class Factor:
    """A data-equivalence factor with its 95 % confidence set.

    Attributes:
        value: the factor; inf where the reference does not get there with its most images, 0 where it is better with
            its fewest.
        low: lower end; 0 where the set reaches the smallest factor that the sizes can show; NaN below 3 units.
        high: upper end; inf where the set reaches the largest factor that the sizes can show.
        smallest: the smallest factor that the sizes can show.
        largest: the largest one.
    """

    value: float
    low: float
    high: float
    smallest: float
    largest: float

    @property
    def bound(self) -> Literal["at least", "at most"] | None:
        """Which bound it is, where it has an end on one side only; None where it has both ends or neither."""
        low, high = self._ends()
        if high == inf and low > 0:
            return "at least"
        if low == 0 and high < inf:
            return "at most"
        return None

    @property
    def resolved(self) -> bool:
        """Whether the set has any end."""
        return self._ends() != (0, inf)

    def _ends(self) -> tuple[float, float]:
        """The ends; without an interval those that the estimate alone has."""
        if not isnan(self.low):
            return self.low, self.high
        if self.value == inf:
            return self.largest, inf
        if self.value == 0:
            return 0.0, self.smallest
        return self.value, self.value

    def __str__(self) -> str:
        """Such as "2.5× (1.8 to 3.1)", "9.1× (at least 5.2)", "at least 12×", "more than 16×"."""
        low, high = self._ends()
        if not self.resolved:
            return "not resolved"
        if self.value == inf:
            return f"{'more than' if low >= self.largest else 'at least'} {times(low)}"
        if self.value == 0:
            return f"{'less than' if high <= self.smallest else 'at most'} {times(high)}"
        if isnan(self.low):
            return times(self.value)
        if self.bound is not None:
            return f"{times(self.value)} ({self.bound} {number(low if high == inf else high)})"
        return f"{times(self.value)} ({number(low)} to {number(high)})"

    def as_json(self) -> dict[str, Any]:
        """For study.json, which knows neither inf nor NaN: None where there is no value or no end, and the bound."""
        ends = [end if isfinite(end) and end > 0 else None for end in (self.low, self.high)]
        value = self.value if 0 < self.value < inf and self.resolved else None
        return {"factor": value, "interval": ends, "bound": self.bound}


def number(factor: float) -> str:
    """A factor to as many digits as are worth reading."""
    return f"{factor:.2f}" if factor < 0.95 else f"{factor:.1f}" if factor < 9.95 else f"{factor:.0f}"


def times(factor: float) -> str:
    """A factor with its sign: "2.5×"."""
    return f"{number(factor)}×"


def equivalence(sizes: Array, reference: Array, errors: Array, floor: float = SMALLEST) -> Factor:
    """The factor over all sizes: by how much one learning curve is shifted against the other.

    Both curves are linear between their points in log-log. At a shift by log f the reference with f times the images is
    compared with the model, on average over all numbers of images for which both curves are known. The factor is where
    this average is 0. The set holds every factor at which a paired t test over units does not reject 0 (Fieller 1954).

    Args:
        sizes: training sizes, rising, ``[k]``.
        reference: errors of the reference in [0, 1], ``[k, units]``; units are seeds, or test images (of each the share
            of seeds that got it wrong).
        errors: errors of the model, paired by unit, ``[k, units]``.
        floor: what a smaller mean error counts as; half of one test image is sensible.
    """
    shifts, weights = _over_all(tuple(map(float, sizes)))
    values = np.concatenate([pseudo_logs(reference, floor), pseudo_logs(errors, floor)])
    return _factor(difference(shifts, weights, values))


def equivalence_at(sizes: Array, reference: Array, errors: Array, index: int, floor: float = SMALLEST) -> Factor:
    """The factor at one size: how many times more images the reference needs for the error the model has there.

    It takes the reference's curve as linear between its sizes in log-log. Where it is strongly bent (errors from 0.42
    to 0.18 with an asymptote of 0.1, an answer half-way between two sizes) the interval covers 92 to 95 %.

    Args:
        sizes: training sizes, rising, ``[k]``.
        reference: errors of the reference, ``[k, units]``.
        errors: errors of the model, ``[k, units]``.
        index: which size.
        floor: as in :func:`equivalence`.
    """
    shifts, weights = _at(tuple(map(float, sizes)), index)
    values = np.concatenate([pseudo_logs(reference, floor), pseudo_logs(errors[[index]], floor)])
    return _factor(difference(shifts, weights, values))


@lru_cache(maxsize=32)
def _over_all(sizes: tuple[float, ...]) -> tuple[Array, Array]:
    """The shifts, ``[g]``, and the weights of both curves in their difference at each, ``[g, 2 k]``."""
    logs = np.log(sizes)
    span = logs[-1] - logs[0]
    shifts = np.union1d(np.linspace(-span, span, GRID), (logs[:, None] - logs).ravel())
    start = np.maximum(logs[0], logs[0] - shifts)
    end = np.maximum(np.minimum(logs[-1], logs[-1] - shifts), start)
    weights = [mean_weights(logs, start + shifts, end + shifts), -mean_weights(logs, start, end)]
    return shifts, np.concatenate(weights, axis=1)


@lru_cache(maxsize=32)
def _at(sizes: tuple[float, ...], index: int) -> tuple[Array, Array]:
    """The shifts, ``[g]``, and the weights of the reference and of the model's one error, ``[g, k + 1]``."""
    logs = np.log(sizes)
    shifts = np.union1d(np.linspace(logs[0], logs[-1], GRID), logs) - logs[index]
    weights = [point_weights(logs, logs[index] + shifts), np.full((len(shifts), 1), -1.0)]
    return shifts, np.concatenate(weights, axis=1)


def _factor(shifted: Difference) -> Factor:
    """From the difference by shift: reference minus model, which falls where more images help the reference."""
    first, last = shifted.points[[0, -1]]
    zeros = shifted.falls_through_zero()
    if np.allclose(shifted.mean, 0, atol=1e-9):  # flat, equal curves: any shift would do
        zeros = np.zeros(1)
    value = exp(zeros[-1]) if len(zeros) else inf if shifted.mean[-1] > 0 else 0.0 if shifted.mean[0] < 0 else 1.0
    if np.isnan(shifted.half[0]):
        return Factor(value, np.nan, np.nan, exp(first), exp(last))
    ends = shifted.confidence_set()
    if ends is None:  # rejected at every shift, and never 0: beyond what the sizes can show
        low, high = (exp(last), inf) if value == inf else (0.0, exp(first))
    else:
        low = 0.0 if ends[0] <= first or value == 0 else exp(ends[0])
        high = inf if ends[1] >= last or value == inf else exp(ends[1])
    return Factor(value, low, high, exp(first), exp(last))


def shared_errors(reference: Array, errors: Array) -> tuple[float, float] | None:
    """The range of mean error that two learning curves have in common, the lowest first; None where there is none.

    Args:
        reference: errors of the reference, ``[k, units]``.
        errors: errors of the model, ``[k, units]``.
    """
    curves = reference.mean(axis=1), errors.mean(axis=1)
    low, high = max(curve.min() for curve in curves), min(curve.max() for curve in curves)
    return (float(low), float(high)) if low <= high else None


def rises(sizes: Array, errors: Array) -> tuple[int, ...]:
    """The sizes at which a model's mean error is higher than with fewer images.

    Args:
        sizes: training sizes, rising, ``[k]``.
        errors: ``[k, units]``.
    """
    mean = errors.mean(axis=1)
    lowest = np.minimum.accumulate(mean)[:-1]
    return tuple(int(size) for size, here, before in zip(sizes[1:], mean[1:], lowest, strict=True) if here > before)
