"""The learning rate of each model at each training size, chosen on validation images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, log

MOST_STEPS = 6  # by which a grid is extended in either direction


def extended(grid: Sequence[float], mean_score: Callable[[float], float | None]) -> tuple[float, ...]:
    """The learning rates to try: a grid, continued by its own ratio until the best rate is inside it.

    Args:
        grid: rising learning rates, at least two.
        mean_score: the mean validation accuracy of a rate; None while some of its trials have no result.

    Returns:
        Rising rates. While a rate on the grid has no score, the grid as it is; where the last one has no score yet,
        it is the next to try.
    """
    rates = list(grid)
    down, up = rates[0] / rates[1], rates[-1] / rates[-2]
    for _ in range(2 * MOST_STEPS):
        scores = {rate: mean_score(rate) for rate in rates}
        if any(score is None for score in scores.values()):
            break
        best = best_rate({rate: score for rate, score in scores.items() if score is not None})
        if best == rates[0] and rates[0] > grid[0] * down ** (MOST_STEPS - 0.5):
            rates.insert(0, rounded(rates[0] * down))
        elif best == rates[-1] and rates[-1] < grid[-1] * up ** (MOST_STEPS - 0.5):
            rates.append(rounded(rates[-1] * up))
        else:
            break
    return tuple(rates)


def best_rate(scores: Mapping[float, float]) -> float:
    """The rate of the best score, the lowest of several that tie."""
    return max(sorted(scores), key=lambda rate: scores[rate])


def peak_rate(scores: Mapping[float, float]) -> float:
    """Where the parabola through the best score and its neighbours has its peak, over the logarithm of the rate.

    Three scores decide and not one, so the choice is less noisy than the best alone, and finer than the grid. At the
    edge of the grid it is the best rate itself.

    Args:
        scores: learning rate -> mean validation accuracy, on a grid of one ratio.
    """
    rates = sorted(scores)
    place = rates.index(best_rate(scores))
    if place in (0, len(rates) - 1):
        return rates[place]
    below, best, above = (scores[rate] for rate in rates[place - 1 : place + 2])
    bend = below - 2 * best + above
    if bend == 0:  # all three tie
        return rates[place]
    return rounded(exp(log(rates[place]) + 0.5 * (below - above) / bend * log(rates[place + 1] / rates[place])))


def rounded(rate: float) -> float:
    """Three digits, so that a grid extended by a ratio has rates that a person would write."""
    return float(f"{rate:.3g}")
