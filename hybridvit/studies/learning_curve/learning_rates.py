"""The learning rate of each model at each training size, chosen on validation images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

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
        if best == rates[0] and scores[best] != scores[rates[1]]:
            beyond = rounded(best * down)
            if grid[0] * down ** (MOST_STEPS + 0.5) < beyond < best:
                rates.insert(0, beyond)
                continue
        if best == rates[-1] and scores[best] != scores[rates[-2]]:
            beyond = rounded(best * up)
            if best < beyond < grid[-1] * up ** (MOST_STEPS + 0.5):
                rates.append(beyond)
                continue
        break
    return tuple(rates)


def best_rate(scores: Mapping[float, float]) -> float:
    """The rate of the best score, the lowest of several that tie."""
    return max(sorted(scores), key=lambda rate: scores[rate])


def peak_rate(scores: Mapping[float, float]) -> float:
    """Where the parabola through the best score and its neighbours has its peak, over the logarithm of the rate.

    Three scores decide and not one, so the choice is less noisy than the best alone, and finer than the grid. At the
    edge of the grid, and beside a rate that diverged, it is the best rate itself.

    Args:
        scores: learning rate -> mean validation accuracy, 0 where the loss diverged.
    """
    rates = sorted(scores)
    place = rates.index(best_rate(scores))
    around = rates[max(place - 1, 0) : place + 2]
    if len(around) < 3 or min(scores[rate] for rate in around) == 0 or len({scores[rate] for rate in around}) == 1:
        return rates[place]  # an edge, a neighbour that diverged, or three that tie
    bend, slope, _ = np.polyfit(np.log(around), [scores[rate] for rate in around], 2)
    return rounded(float(np.clip(np.exp(-slope / (2 * bend)), around[0], around[-1])))


def rounded(rate: float) -> float:
    """Three digits, so that a grid extended by a ratio has rates that a person would write."""
    return float(f"{rate:.3g}")
