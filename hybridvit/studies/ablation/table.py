"""What each ingredient of a recipe is worth: the results of an ablation as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.recipe import Ablation
from hybridvit.studies.ablation.cells import EVERYTHING, NOTHING, lacking, row_cells, rows
from hybridvit.studies.differences import Difference, differences
from hybridvit.studies.learning_curve.cells import accuracy
from hybridvit.studies.statistics import MIN_SEEDS_FOR_CLAIM, Interval, holm, mean_interval, sign_flip_p

Results = Mapping[str, dict[str, Any]]  # cell key -> result


@dataclass(frozen=True)
class Worth:
    """What the whole recipe has over a row, paired by seed.

    Attributes:
        seeds: the seeds that both have.
        gains: test accuracy of the base minus that of the row, in points, ``[seeds]``.
        mean: their mean, with its interval from 3 seeds on.
        p: Holm-adjusted sign-flip p value; None below 6 seeds.
        seconds: training time of the row, as a multiple of the base's on the same seeds.
    """

    seeds: tuple[int, ...]
    gains: NDArray[np.float64]
    mean: Interval
    p: float | None
    seconds: float

    @property
    def sign(self) -> int:
        """1: it helps, -1: it hurts, 0: the interval, where there is one, reaches 0."""
        value, low, high = self.mean
        return 0 if low <= 0 <= high else int(np.sign(value))


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
        worth: what the base has over it; None for the base, and where the two have no seed in common.
    """

    name: str
    differs: tuple[Difference, ...]
    seeds: tuple[int, ...]
    accuracy: NDArray[np.float64]
    params: int
    seconds: NDArray[np.float64]
    worth: Worth | None


@dataclass(frozen=True)
class AblationTable:
    """The rows of an ablation that have results.

    Attributes:
        base: the whole recipe.
        ingredients: a row for each ingredient, the most worth first; those without a paired seed last.
        baseline: the recipe with nothing added.
        smallest_p: the smallest adjusted p value that the seeds and the number of rows can give; 1 where there is none.
    """

    base: Row
    ingredients: tuple[Row, ...]
    baseline: Row | None
    smallest_p: float

    @property
    def rows(self) -> tuple[Row, ...]:
        """From the base to the baseline."""
        return (self.base, *self.ingredients, *([self.baseline] if self.baseline is not None else []))


def tabulate(study: Ablation, results: Results) -> AblationTable | None:
    """Pairs every row with the base, seed by seed; None while the base or all ingredients have no result.

    Args:
        study: the ablation.
        results: cell key -> result.
    """
    base = _row(study, EVERYTHING, EVERYTHING, results)
    if base is None:
        return None
    named = [(ingredient, lacking(ingredient)) for ingredient in study.without]
    if study.baseline is not None:
        named.append((NOTHING, NOTHING))
    found = [(row, _row(study, name, row, results)) for name, row in named]
    compared = _adjusted([(row, _against(one, base)) for row, one in found if one is not None])
    baseline = dict(compared).get(NOTHING)
    ingredients = [one for row, one in compared if row != NOTHING]
    if not ingredients:
        return None
    ingredients.sort(key=lambda one: one.worth.mean.value if one.worth is not None else -np.inf, reverse=True)
    tested = [len(one.worth.seeds) for _, one in compared if one.worth is not None and one.worth.p is not None]
    smallest_p = min(2.0 ** (1 - max(tested)) * len(tested), 1.0) if tested else 1.0
    return AblationTable(base, tuple(ingredients), baseline, smallest_p)


def _row(study: Ablation, name: str, row: str, results: Results) -> Row | None:
    """A row on its own; None where no seed of it has a result."""
    recipe = rows(study)[row]
    found = {cell.seed: results[cell.key] for cell in row_cells(study, row) if cell.key in results}
    if not found:
        return None
    return Row(
        name,
        differences(study.base, replace(recipe, name=study.base.name)),
        tuple(found),
        np.array([accuracy(recipe, result, "test") for result in found.values()]),
        next(iter(found.values()))["params"],
        np.array([_training_seconds(result) for result in found.values()]),
        None,
    )


def _training_seconds(result: Mapping[str, Any]) -> float:
    """All that was spent on learning; neither compiling nor reading the test split is an ingredient's cost."""
    return float(sum(spent for part, spent in result["seconds"].items() if part not in ("compile", "total")))


def _against(row: Row, base: Row) -> Row:
    """The row with what the base has over it; p is not adjusted yet."""
    both = tuple(seed for seed in row.seeds if seed in base.seeds)
    if not both:
        return row
    ours, theirs = ([one.seeds.index(seed) for seed in both] for one in (base, row))
    gains = 100 * (base.accuracy[ours] - row.accuracy[theirs])
    p = sign_flip_p(gains) if len(both) >= MIN_SEEDS_FOR_CLAIM else None
    seconds = float(row.seconds[theirs].mean() / base.seconds[ours].mean())
    return replace(row, worth=Worth(both, gains, mean_interval(gains), p, seconds))


def _adjusted(compared: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The rows with their p values adjusted for how many there are."""
    raw = [one.worth.p for _, one in compared if one.worth is not None and one.worth.p is not None]
    adjusted = iter(holm(raw)) if raw else iter(())
    return [
        (row, replace(one, worth=replace(one.worth, p=next(adjusted))))
        if one.worth is not None and one.worth.p is not None
        else (row, one)
        for row, one in compared
    ]
