"""The results of a study as arrays and plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from hybridvit.recipe import Recipe
from hybridvit.studies.cells import accuracy as measured
from hybridvit.studies.claims import adjusted_p
from hybridvit.studies.learning_curve.crossover import crossover, overtakes
from hybridvit.studies.learning_curve.equivalence import Factor, equivalence, equivalence_at, rises, shared_errors
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.report.study_report import rounded
from hybridvit.studies.statistics import Array, Interval, mean_interval
from hybridvit.studies.study import Results


@dataclass(frozen=True)
class Equivalence:
    """What a model's built-in assumptions are worth against the reference.

    Attributes:
        factor: how many times more images the reference needs for the same error, over all sizes.
        by_size: the same at each training size.
        shared_errors: the range of mean error that both curves have in common; None where there is none.
        rises: the sizes at which the model's mean error is higher than with fewer images.
        gain: mean accuracy gained over the reference, over all sizes, paired by seed.
        p: Holm-adjusted p value of that gain (sign-flip test), or None where the seeds cannot carry a claim.
    """

    factor: Factor
    by_size: tuple[Factor, ...]
    shared_errors: tuple[float, float] | None
    rises: tuple[int, ...]
    gain: Interval
    p: float | None

    @property
    def bounded(self) -> bool:
        """Whether the factor is known from one side only."""
        return self.factor.bound is not None


@dataclass(frozen=True)
class Crossover:
    """Two learning curves that cross.

    Attributes:
        ahead: the model that has fewer errors from there on.
        behind: the one that had fewer before.
        images: where, with its 95 % confidence interval.
    """

    ahead: str
    behind: str
    images: Interval


@dataclass(frozen=True)
class Table:
    """The results that are complete for all models, seed by seed.

    Attributes:
        sizes: training sizes, ``[k]``.
        seeds: the seeds that every model and size has a result for.
        accuracy: model -> test accuracy ``[k, seeds]``, in [0, 1].
        params: model -> number of parameters.
        seconds: model -> mean seconds of a run.
        equivalence: model -> its data-equivalence factor; without the reference.
        crossovers: where one model overtakes another, by rising number of images, as far as these seeds resolve it.
        unresolved: (ahead, behind) of further pairs whose mean curves cross.
    """

    sizes: Array
    seeds: tuple[int, ...]
    accuracy: dict[str, Array]
    params: dict[str, int]
    seconds: dict[str, float]
    equivalence: dict[str, Equivalence]
    crossovers: tuple[Crossover, ...]
    unresolved: tuple[tuple[str, str], ...]

    def interval(self, model: str, index: int) -> Interval:
        """Mean test accuracy of a model at one size."""
        return mean_interval(self.accuracy[model][index]).within(0, 1)


def tabulate(study: Study, results: Results) -> Table | None:
    """Collects the reported runs; None while no seed is complete.

    Where logarithms are taken, a mean error of 0 counts as half a test image.
    """
    cells = study.cells(results)
    missing = {cell.seed for cell in cells if cell.key not in results}
    seeds = tuple(seed for seed in range(study.repetitions) if seed not in missing)
    if not seeds:
        return None
    shape = (len(study.train_sizes), len(seeds))
    accuracy = {model: np.zeros(shape) for model in study.models}
    params: dict[str, int] = {}
    seconds: dict[str, list[float]] = {model: [] for model in study.models}
    for cell in cells:
        if cell.seed in missing:
            continue
        result = results[cell.key]
        model, size = cell.arm
        row, column = study.train_sizes.index(size), seeds.index(cell.seed)
        accuracy[model][row, column] = measured(cell.recipe, result, "test")
        params[model] = result["params"]
        seconds[model].append(result["seconds"]["total"])
    sizes = np.array(study.train_sizes, dtype=np.float64)
    test_images = next(results[cell.key]["test_images"] for cell in cells if cell.key in results)
    floor = 0.5 / test_images
    errors = {model: 1 - values for model, values in accuracy.items()}
    crossovers, unresolved = _crossovers(sizes, errors, floor)
    others = [model for model in study.models if model != study.reference]
    return Table(
        sizes,
        seeds,
        accuracy,
        params,
        {model: float(np.mean(values)) for model, values in seconds.items()},
        _equivalences(sizes, errors, study.reference, others, floor),
        crossovers,
        unresolved,
    )


def _crossovers(
    sizes: Array, errors: Mapping[str, Array], floor: float
) -> tuple[tuple[Crossover, ...], tuple[tuple[str, str], ...]]:
    """Those that the seeds resolve, and (ahead, behind) of the other pairs whose mean curves cross."""
    resolved, unresolved = [], []
    for behind, ahead in permutations(errors, 2):
        images = crossover(sizes, errors[behind], errors[ahead], floor)
        if images is not None:
            resolved.append(Crossover(ahead, behind, images))
        elif overtakes(sizes, errors[behind], errors[ahead]):
            unresolved.append((ahead, behind))
    return tuple(sorted(resolved, key=lambda crossing: crossing.images.value)), tuple(unresolved)


def _equivalences(
    sizes: Array, errors: Mapping[str, Array], reference: str, others: list[str], floor: float
) -> dict[str, Equivalence]:
    gains = {model: (errors[reference] - errors[model]).mean(axis=0) for model in others}
    p_values = adjusted_p(gains)
    return {
        model: Equivalence(
            equivalence(sizes, errors[reference], errors[model], floor),
            tuple(equivalence_at(sizes, errors[reference], errors[model], i, floor) for i in range(len(sizes))),
            shared_errors(errors[reference], errors[model]),
            rises(sizes, errors[model]),
            mean_interval(gains[model]),
            p_values[model],
        )
        for model in others
    }


def run_rows(study: Study, results: Results) -> list[dict[str, Any]]:
    """One row for each reported run; the last columns only where something was measured."""
    rows = []
    for cell in study.cells(results):
        if cell.key in results:
            result = results[cell.key]
            rows.append(
                {
                    "model": cell.arm[0],
                    "train_images": cell.arm[1],
                    "seed": cell.seed,
                    "lr": cell.recipe.optim.lr,
                    "test_accuracy": round(measured(cell.recipe, result, "test"), 6),
                    "params": result["params"],
                    "steps": result["steps"],
                    "seconds": round(result["seconds"]["total"], 3),
                    "device": result["device"],
                    "train_seconds": round(result["seconds"]["train"], 3),
                    "compile_seconds": round(result["seconds"]["compile"], 3),
                    **_further(cell.recipe, result),
                }
            )
    return rows


def _further(recipe: Recipe, result: Mapping[str, Any]) -> dict[str, float]:
    """The accuracy with test-time augmentation and the energy of the training, where they were measured."""
    columns = {}
    if recipe.tta:
        columns["test_accuracy_tta"] = round(measured(recipe, result, "test_tta"), 6)
    if "joules" in result:
        columns["train_joules"] = round(result["joules"]["train"], 1)
    return columns


def table_rows(table: Table) -> list[dict[str, Any]]:
    """One row for each model and training size: accuracy and data-equivalence factors with their intervals.

    The reference's factors are 1. Where a factor is only a bound, the value or the end that is not known is empty.
    """
    rows = []
    for model in table.accuracy:
        for index, size in enumerate(table.sizes):
            mean, low, high = table.interval(model, index)
            worth = table.equivalence.get(model)
            rows.append(
                {
                    "model": model,
                    "train_images": int(size),
                    "seeds": len(table.seeds),
                    "test_accuracy": round(mean, 6),
                    "low": rounded(low),
                    "high": rounded(high),
                    **_factor_columns("equivalence_at_size", worth.by_size[index] if worth else None),
                    **_factor_columns("equivalence", worth.factor if worth else None),
                }
            )
    return rows


def _factor_columns(name: str, factor: Factor | None) -> dict[str, Any]:
    value, low, high = (factor.value, factor.low, factor.high) if factor else (1.0, 1.0, 1.0)
    return {
        name: rounded(value, 4) if value > 0 else "",
        f"{name}_low": rounded(low, 4) if low > 0 else "",
        f"{name}_high": rounded(high, 4),
        f"{name}_bound": (factor.bound or "") if factor else "",
    }
