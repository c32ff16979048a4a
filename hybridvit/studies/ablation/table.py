"""The effect of each ingredient of a recipe: the results of an ablation as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridvit.recipe import Recipe
from hybridvit.studies.ablation.study import EVERYTHING, NOTHING, Ablation
from hybridvit.studies.cells import accuracy
from hybridvit.studies.claims import adjusted_p
from hybridvit.studies.differences import Difference, differences
from hybridvit.studies.statistics import Array, Interval, mean_interval
from hybridvit.studies.study import Results


@dataclass(frozen=True)
class Effect:
    """What the whole recipe has over a row, paired by seed.

    Attributes:
        seeds: the seeds that both have.
        gains: test accuracy of the base minus that of the row, in points, ``[seeds]``.
        mean: their mean, with its interval from 3 seeds on.
        p: Holm-adjusted sign-flip p value; None where it has too few seeds.
        seconds: training time of the row, as a multiple of the base's on the same seeds.
    """

    seeds: tuple[int, ...]
    gains: Array
    mean: Interval
    p: float | None
    seconds: float


@dataclass(frozen=True)
class Row:
    """The whole recipe, or what is left of it.

    Attributes:
        name: the ingredient that is missing; "everything" for the base, "nothing added" for the baseline.
        differs: the fields in which it differs from the base.
        seeds: the seeds that have a result.
        accuracy: their test accuracy in [0, 1], ``[seeds]``.
        params: number of parameters.
        seconds: seconds of training, ``[seeds]``.
        effect: what the base has over it; None for the base, and where the two have no seed in common.
    """

    name: str
    differs: tuple[Difference, ...]
    seeds: tuple[int, ...]
    accuracy: Array
    params: int
    seconds: Array
    effect: Effect | None = None


@dataclass(frozen=True)
class AblationTable:
    """The rows of an ablation that have results.

    Attributes:
        base: the whole recipe.
        ingredients: a row for each ingredient, the largest effect first; those without a paired seed last.
        baseline: the recipe with nothing added.
    """

    base: Row
    ingredients: tuple[Row, ...]
    baseline: Row | None

    @property
    def rows(self) -> tuple[Row, ...]:
        """From the base to the baseline."""
        return (self.base, *self.ingredients, *([self.baseline] if self.baseline is not None else []))

    @property
    def effects(self) -> dict[str, Effect]:
        """The effects by the name of their row, that of all ingredients together last."""
        return {row.name: row.effect for row in self.rows if row.effect is not None}


def tabulate(study: Ablation, results: Results) -> AblationTable | None:
    """Pairs every row with the base, seed by seed; None while the base or all ingredients have no result."""
    rows = {name: _row(study, name, recipe, results) for name, recipe in study.rows().items()}
    base = rows.pop(EVERYTHING)
    present = {name: row for name, row in rows.items() if row is not None}
    if base is None or not present.keys() - {NOTHING}:
        return None
    paired = {name: _against(row, base) for name, row in present.items()}
    gains = {name: row.effect.gains for name, row in paired.items() if row.effect is not None}
    for name, p in adjusted_p(gains).items():
        row = paired[name]
        assert row.effect is not None
        paired[name] = replace(row, effect=replace(row.effect, p=p))
    baseline = paired.pop(NOTHING, None)
    order = sorted(paired.values(), key=lambda row: row.effect.mean.value if row.effect else -np.inf, reverse=True)
    return AblationTable(base, tuple(order), baseline)


def _row(study: Ablation, name: str, recipe: Recipe, results: Results) -> Row | None:
    """A row on its own; None where no seed of it has a result."""
    cells = [cell for cell in study.cells(results) if cell.arm == (name,) and cell.key in results]
    if not cells:
        return None
    ended = [results[cell.key] for cell in cells]
    return Row(
        name.removeprefix("without "),
        differences(study.base, replace(recipe, name=study.base.name)),
        tuple(cell.seed for cell in cells),
        np.array([accuracy(recipe, result, "test") for result in ended]),
        ended[0]["params"],
        np.array([_training_seconds(result) for result in ended]),
    )


def _training_seconds(result: Mapping[str, Any]) -> float:
    """All that was spent on learning; neither compiling nor reading the test split is an ingredient's cost."""
    return float(sum(spent for stage, spent in result["seconds"].items() if stage not in ("compile", "total")))


def _against(row: Row, base: Row) -> Row:
    """The row with what the base has over it; p is not known yet."""
    both = tuple(seed for seed in row.seeds if seed in base.seeds)
    if not both:
        return row
    in_base, in_row = ([one.seeds.index(seed) for seed in both] for one in (base, row))
    gains = 100 * (base.accuracy[in_base] - row.accuracy[in_row])
    seconds = float(row.seconds[in_row].mean() / base.seconds[in_base].mean())
    return replace(row, effect=Effect(both, gains, mean_interval(gains), None, seconds))
