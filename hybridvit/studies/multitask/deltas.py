"""Δm: what sharing a trunk costs or gains, in %."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Scores = Mapping[str, Mapping[str, float]]  # task -> metric -> value

NEAR_ZERO = 1e-6  # a metric of a single task below this cannot be divided by


@dataclass(frozen=True)
class Delta:
    """Δm of one run against single-task runs, in %.

    Attributes:
        tasks: task -> mean over its metrics of the relative gain.
        left_out: "task metric" that a division by (nearly) 0 left out.
    """

    tasks: dict[str, float]
    left_out: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the tasks; NaN where none can be compared."""
        return float(np.mean(list(self.tasks.values()))) if self.tasks else float("nan")


def relative_gain(multi: Scores, single: Scores, better: Mapping[str, Mapping[str, bool]]) -> Delta:
    """Mean over tasks and metrics of (-1)^l (M_multi - M_single) / |M_single|, l = 1 where lower is better.

    In %, as in arXiv 1904.08918, averaged over each task's metrics first. A metric that either side lacks is
    skipped, and a task without any common metric with it.

    Args:
        multi: of the run with all tasks.
        single: of the runs with one task each.
        better: task -> metric -> whether higher is better.
    """
    tasks, left_out = {}, []
    for task, directions in better.items():
        gains = []
        for metric, higher in directions.items():
            value, base = multi.get(task, {}).get(metric), single.get(task, {}).get(metric)
            if value is None or base is None:
                continue
            if abs(base) < NEAR_ZERO:
                left_out.append(f"{task} {metric}")
                continue
            gains.append((1 if higher else -1) * 100 * (value - base) / abs(base))
        if gains:
            tasks[task] = float(np.mean(gains))
    return Delta(tasks, tuple(left_out))
