"""The results of a study as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from hybridvit.studies.cells import Cell
from hybridvit.studies.cells import accuracy as measured
from hybridvit.studies.claims import adjusted_p
from hybridvit.studies.learning_curve.crossover import crossover, overtakes
from hybridvit.studies.learning_curve.doubling import Doubling, compare_doubled
from hybridvit.studies.learning_curve.equivalence import Factor, equivalence, equivalence_at, rises, shared_errors
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.learning_curve.variants import Comparison, compare_variants
from hybridvit.studies.statistics import Array, Interval, mean_interval
from hybridvit.studies.study import Results
from hybridvit.training.per_image import unpack


@dataclass(frozen=True)
class Equivalence:
    """What a model's built-in assumptions are worth against the reference.

    Attributes:
        factor: how many times more images the reference needs for the same error, over all sizes; its interval is over
            seeds.
        over_images: the same with an interval over test images, paired by image; None where no result says which
            images are right.
        by_size: the factor at each training size.
        shared_errors: the range of mean error that both curves have in common; None where there is none.
        gain: mean accuracy gained over the reference, over all sizes, paired by seed.
    """

    factor: Factor
    over_images: Factor | None
    by_size: tuple[Factor, ...]
    shared_errors: tuple[float, float] | None
    gain: Interval


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
        multiply_adds: model -> multiply-adds of one image; without those that were not counted.
        seconds_per_step: model -> mean seconds of a training step.
        rises: model -> the sizes at which its mean error is higher than with fewer images, where there are any.
        equivalence: model -> its data-equivalence factor; without the reference.
        crossovers: where one model overtakes another, by rising number of images, as far as these seeds resolve it.
        unresolved: (ahead, behind) of further pairs whose mean curves cross.
        variants: the variants, each against its model.
        p: model or variant -> Holm-adjusted p value of all these comparisons together, or None.
        doublings: what twice the steps change.
    """

    sizes: Array
    seeds: tuple[int, ...]
    accuracy: dict[str, Array]
    params: dict[str, int]
    multiply_adds: dict[str, int]
    seconds_per_step: dict[str, float]
    rises: dict[str, tuple[int, ...]]
    equivalence: dict[str, Equivalence]
    crossovers: tuple[Crossover, ...]
    unresolved: tuple[tuple[str, str], ...]
    variants: tuple[Comparison, ...]
    p: dict[str, float | None]
    doublings: tuple[Doubling, ...]

    def interval(self, model: str, index: int) -> Interval:
        """Mean test accuracy of a model at one size."""
        return mean_interval(self.accuracy[model][index]).within(0, 1)


def tabulate(study: Study, results: Results) -> Table | None:
    """Collects the reported runs; None while no seed is complete.

    Where logarithms are taken, a mean error of 0 counts as half a test image.
    """
    core = [cell for cell in study.cells(results) if cell.arm[0] in study.models and len(cell.arm) == 2]
    missing = {cell.seed for cell in core if cell.key not in results}
    seeds = tuple(seed for seed in range(study.repetitions) if seed not in missing)
    if not seeds:
        return None
    runs = {(*cell.arm, cell.seed): cell for cell in core if cell.seed in seeds}
    ended = {place: results[cell.key] for place, cell in runs.items()}
    accuracy = {
        model: np.array(
            [
                [measured(runs[model, size, seed].recipe, ended[model, size, seed], "test") for seed in seeds]
                for size in study.train_sizes
            ]
        )
        for model in study.models
    }
    sizes = np.array(study.train_sizes, dtype=np.float64)
    floor = 0.5 / next(iter(ended.values()))["test_images"]
    errors = {model: 1 - values for model, values in accuracy.items()}
    crossovers, unresolved = _crossovers(sizes, errors, floor)
    variants = compare_variants(study, results)
    others = [model for model in study.models if model != study.reference]
    gains = {model: (errors[study.reference] - errors[model]).mean(axis=0) for model in others}
    largest = {model: ended[model, study.train_sizes[-1], seeds[0]] for model in study.models}
    return Table(
        sizes=sizes,
        seeds=seeds,
        accuracy=accuracy,
        params={model: result["params"] for model, result in largest.items()},
        multiply_adds={m: count for m, result in largest.items() if (count := result.get("multiply_adds"))},
        seconds_per_step={model: _seconds_per_step(ended, model) for model in study.models},
        rises={model: up for model in study.models if (up := rises(sizes, errors[model]))},
        equivalence=_equivalences(sizes, errors, _wrong_images(runs, results, seeds, study), study.reference, floor),
        crossovers=crossovers,
        unresolved=unresolved,
        variants=variants,
        p=adjusted_p(gains | dict.fromkeys(study.variants, np.zeros(0)) | {v.variant: v.differences for v in variants}),
        doublings=compare_doubled(study, results),
    )


def _seconds_per_step(ended: Mapping[tuple[Any, ...], Mapping[str, Any]], model: str) -> float:
    """Mean over the runs of a model."""
    return float(
        np.mean([result["seconds"]["train"] / result["steps"] for place, result in ended.items() if place[0] == model])
    )


def _wrong_images(
    runs: Mapping[tuple[Any, ...], Cell], results: Results, seeds: Sequence[int], study: Study
) -> dict[str, Array] | None:
    """Model -> share of the seeds that got each test image wrong, ``[k, images]``; None where that was not kept."""
    task = next(iter(study.base.tasks))
    if any(task not in results[cell.key].get("test_right", {}) for cell in runs.values()):
        return None

    def wrong(model: str, size: int) -> Array:
        ended = [results[runs[model, size, seed].key] for seed in seeds]
        return 1 - np.mean([unpack(result["test_right"][task]) for result in ended], axis=0)

    return {model: np.array([wrong(model, size) for size in study.train_sizes]) for model in study.models}


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
    sizes: Array,
    errors: Mapping[str, Array],
    by_image: Mapping[str, Array] | None,
    reference: str,
    floor: float,
) -> dict[str, Equivalence]:
    return {
        model: Equivalence(
            equivalence(sizes, errors[reference], own, floor),
            equivalence(sizes, by_image[reference], by_image[model], floor) if by_image else None,
            tuple(equivalence_at(sizes, errors[reference], own, i, floor) for i in range(len(sizes))),
            shared_errors(errors[reference], own),
            mean_interval((errors[reference] - own).mean(axis=0)),
        )
        for model, own in errors.items()
        if model != reference
    }
