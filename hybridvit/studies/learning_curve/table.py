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
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.statistics import (
    Array,
    Interval,
    crossover,
    crossover_interval,
    equivalence_at,
    equivalence_interval,
    mean_interval,
)
from hybridvit.studies.study import Results


@dataclass(frozen=True)
class Equivalence:
    """What a model's built-in assumptions are factor against the reference.

    Attributes:
        factor: how many times more images the reference needs, over the errors both reach.
        bounded: the curves do not meet, so that the factor is only a bound.
        by_size: the same at each training size; inf and 0 where it lies beyond the sizes studied.
        gain: mean accuracy gained over the reference, over all sizes, paired by seed.
        p: Holm-adjusted p value of that gain (sign-flip test), or None where the seeds cannot carry a claim.
    """

    factor: Interval
    bounded: bool
    by_size: tuple[float, ...]
    gain: Interval
    p: float | None


@dataclass(frozen=True)
class Crossover:
    """Two learning curves that cross.

    Attributes:
        ahead: the model that has fewer errors from there on.
        behind: the one that had fewer before.
        images: where; its interval ends at 0 or inf where it reaches beyond the sizes studied.
    """

    ahead: str
    behind: str
    images: Interval

    @property
    def settled(self) -> bool:
        """Whether the seeds say anything of where it is."""
        return not (self.images.low == 0 and self.images.high == np.inf)


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
        crossovers: where mean curves cross, by rising number of images.
    """

    sizes: Array
    seeds: tuple[int, ...]
    accuracy: dict[str, Array]
    params: dict[str, int]
    seconds: dict[str, float]
    equivalence: dict[str, Equivalence]
    crossovers: tuple[Crossover, ...]

    def interval(self, model: str, index: int) -> Interval:
        """Mean test accuracy of a model at one size."""
        return mean_interval(self.accuracy[model][index])


def tabulate(study: Study, results: Results) -> Table | None:
    """Collects the reported runs; None while no seed is complete.

    Where logarithms are taken, an error of 0 counts as half a test image.
    """
    cells = study.cells(results)
    missing = {cell.seed for cell in cells if cell.key not in results}
    seeds = tuple(seed for seed in range(study.seeds) if seed not in missing)
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
    errors = {model: np.maximum(1 - values, 0.5 / test_images) for model, values in accuracy.items()}
    others = [model for model in study.models if model != study.reference]
    return Table(
        sizes,
        seeds,
        accuracy,
        params,
        {model: float(np.mean(values)) for model, values in seconds.items()},
        _equivalences(sizes, accuracy, errors, study.reference, others),
        _crossovers(sizes, errors),
    )


def _crossovers(sizes: Array, errors: Mapping[str, Array]) -> tuple[Crossover, ...]:
    crossings = []
    for behind, ahead in permutations(errors, 2):
        means = errors[behind].mean(axis=1), errors[ahead].mean(axis=1)
        if 0 < crossover(sizes, *means) < np.inf:
            crossings.append(Crossover(ahead, behind, crossover_interval(sizes, errors[behind], errors[ahead])))
    return tuple(sorted(crossings, key=lambda crossing: crossing.images.value))


def _equivalences(
    sizes: Array,
    accuracy: Mapping[str, Array],
    errors: Mapping[str, Array],
    reference: str,
    others: list[str],
) -> dict[str, Equivalence]:
    gains = {model: (accuracy[model] - accuracy[reference]).mean(axis=0) for model in others}
    p_values = adjusted_p(gains)
    factors = {}
    reference_mean = errors[reference].mean(axis=1)
    for model in others:
        mean = errors[model].mean(axis=1)
        factor = equivalence_interval(sizes, errors[reference], errors[model])
        bounded = bool(mean.min() > reference_mean.max() or mean.max() < reference_mean.min())
        by_size = tuple(equivalence_at(sizes, reference_mean, mean, index) for index in range(len(sizes)))
        factors[model] = Equivalence(factor, bounded, by_size, mean_interval(gains[model]), p_values[model])
    return factors


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
    """One row for each model and training size: accuracy with its interval, and the data-equivalence factor."""
    rows = []
    for model in table.accuracy:
        for index, size in enumerate(table.sizes):
            mean, low, high = table.interval(model, index)
            equivalence = table.equivalence.get(model)
            rows.append(
                {
                    "model": model,
                    "train_images": int(size),
                    "seeds": len(table.seeds),
                    "test_accuracy": round(mean, 6),
                    "low": round(low, 6),
                    "high": round(high, 6),
                    "equivalence_at_size": round(equivalence.by_size[index], 4) if equivalence else 1.0,
                    "equivalence": round(equivalence.factor.value, 4) if equivalence else 1.0,
                    "equivalence_low": round(equivalence.factor.low, 4) if equivalence else 1.0,
                    "equivalence_high": round(equivalence.factor.high, 4) if equivalence else 1.0,
                }
            )
    return rows
