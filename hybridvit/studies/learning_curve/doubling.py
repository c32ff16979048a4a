"""Whether the steps suffice: what twice as many change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hybridvit.studies.cells import accuracy
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.statistics import Interval, mean_interval
from hybridvit.studies.study import Results

ENOUGH = 1.0  # points of mean test accuracy that twice the steps may change where a model is trained to the end


class Doubling(NamedTuple):
    """Twice the steps for a model at a training size.

    Attributes:
        model: its name.
        train_size: number of training images.
        steps: of the study.
        change: points of test accuracy gained, paired by seed, with its interval.
        seeds: number of pairs.
    """

    model: str
    train_size: int
    steps: int
    change: Interval
    seeds: int

    @property
    def enough(self) -> bool:
        """Whether the mean changes by at most 1 point."""
        return abs(self.change.value) <= ENOUGH


def compare_doubled(study: Study, results: Results) -> tuple[Doubling, ...]:
    """Every model and size that has a result with the steps of the study and with twice as many."""
    once = {(*cell.arm, cell.seed): cell for cell in study.cells(results)} if study.double_steps_at else {}
    gains: dict[tuple[str, int], list[float]] = {}
    for cell in study.doubled(results) if study.double_steps_at else ():
        model, size, _ = cell.arm
        plain = once[model, size, cell.seed]
        if cell.key in results and plain.key in results:
            both = (accuracy(one.recipe, results[one.key], "test") for one in (cell, plain))
            gains.setdefault((model, size), []).append(100 * (next(both) - next(both)))
    return tuple(
        Doubling(model, size, study.steps_at(size), mean_interval(np.array(values)), len(values))
        for (model, size), values in gains.items()
    )
