"""Δm: what sharing a trunk costs or gains, in %."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

Scores = Mapping[str, Mapping[str, float]]  # task -> metric -> value

SMALL_SHARE = 0.01  # 1 % of the range of a metric that is at most 1: accuracy, AP, mIoU, R², cosine, ...
SMALL_ERROR = 1e-6  # of an error, which has no range


@dataclass(frozen=True)
class Delta:
    """Δm of one run against single-task runs, in %.

    Attributes:
        tasks: task -> mean over its metrics of the relative gain; without tasks that have no metric to compare.
        left_out: "task metric" whose single-task value is too near to 0 to be divided by.
    """

    tasks: dict[str, float]
    left_out: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the tasks; NaN where none can be compared."""
        return float(np.mean(list(self.tasks.values()))) if self.tasks else float("nan")


def near_zero(single: Scores, better: Mapping[str, Mapping[str, bool]]) -> tuple[str, ...]:
    """ "task metric" of the single-task values that are too near to 0 for a change relative to them to say anything.

    An AP of 0.00004 that becomes 0.003 would be a gain of 7,000 % and rule Δm. A metric of which more is better is at
    most 1, and left out below 0.01 in absolute value. An error is left out below 0.000001.
    """
    return tuple(
        f"{task} {metric}"
        for task, directions in better.items()
        for metric, higher in directions.items()
        if abs(single.get(task, {}).get(metric, np.inf)) < (SMALL_SHARE if higher else SMALL_ERROR)
    )


def relative_gain(
    multi: Scores, single: Scores, better: Mapping[str, Mapping[str, bool]], without: Collection[str] = ()
) -> Delta:
    """Mean over tasks and metrics of (-1)^l (M_multi - M_single) / |M_single|, l = 1 where lower is better.

    In %, as in arXiv 1904.08918, averaged over each task's metrics first. A metric that either side lacks is
    skipped, one whose single-task value is :func:`near_zero` is left out, and a task without any other metric with it.

    Args:
        multi: of the run with all tasks.
        single: of the runs with one task each.
        better: task -> metric -> whether higher is better.
        without: further "task metric" to leave out, so that all seeds have the same.
    """
    left_out = tuple(dict.fromkeys((*without, *near_zero(single, better))))
    tasks = {}
    for task, directions in better.items():
        gains = []
        for metric, higher in directions.items():
            value, base = multi.get(task, {}).get(metric), single.get(task, {}).get(metric)
            if value is None or base is None or f"{task} {metric}" in left_out:
                continue
            gains.append((1 if higher else -1) * 100 * (value - base) / abs(base))
        if gains:
            tasks[task] = float(np.mean(gains))
    return Delta(tasks, left_out)
