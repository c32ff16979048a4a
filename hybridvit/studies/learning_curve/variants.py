"""Variants of a study's models: each against one of them, at some of the training sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hybridvit.studies.cells import accuracy
from hybridvit.studies.learning_curve.study import Arm, Study
from hybridvit.studies.statistics import Array, Interval, mean_interval
from hybridvit.studies.study import Results


@dataclass(frozen=True)
class Comparison:
    """A variant against a model, paired by seed.

    Attributes:
        variant: its name.
        against: the model that it is compared with.
        seeds: those that have a result of both at every size.
        by_size: training size -> points of test accuracy that the variant has over the model, with its interval.
        mean: the same on average over the sizes.
        accuracy: training size -> test accuracy of the variant in [0, 1], with its interval.
        params: number of parameters.
        differences: the mean difference of each seed in points, ``[seeds]``.
    """

    variant: str
    against: str
    seeds: tuple[int, ...]
    by_size: dict[int, Interval]
    mean: Interval
    accuracy: dict[int, Interval]
    params: int
    differences: Array


def compare_variants(study: Study, results: Results) -> tuple[Comparison, ...]:
    """The variants that have at least one complete seed."""
    cells = {(*cell.arm, cell.seed): cell for cell in study.cells(results)} if study.variants else {}

    def measured(arm: Arm, seed: int) -> float | None:
        cell = cells[(*arm, seed)]
        return accuracy(cell.recipe, results[cell.key], "test") if cell.key in results else None

    comparisons = []
    for name, variant in study.variants.items():
        rows = {}
        for seed in range(study.repetitions):
            pairs = [
                (measured(Arm(name, size), seed), measured(Arm(variant.against, size), seed))
                for size in variant.train_sizes
            ]
            if all(None not in pair for pair in pairs):
                rows[seed] = pairs
        if not rows:
            continue
        values = np.array(list(rows.values()), dtype=np.float64)  # [seeds, sizes, variant and model]
        points = 100 * (values[..., 0] - values[..., 1])
        largest = cells[name, variant.train_sizes[-1], next(iter(rows))]
        comparisons.append(
            Comparison(
                name,
                variant.against,
                tuple(rows),
                {size: mean_interval(points[:, i]) for i, size in enumerate(variant.train_sizes)},
                mean_interval(points.mean(axis=1)),
                {size: mean_interval(values[:, i, 0]) for i, size in enumerate(variant.train_sizes)},
                results[largest.key]["params"],
                points.mean(axis=1),
            )
        )
    return tuple(comparisons)
