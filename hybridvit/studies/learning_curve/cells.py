"""A study as a grid of runs: which there are, and what each is called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hybridvit.config import to_yaml
from hybridvit.recipe import Recipe, Study


class NoLearningRate(RuntimeError):
    """Every trial of a model failed."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        stage: "select" for a trial of a learning rate on validation data, "final" for a run that is reported.
        model: name of the model in the study.
        train_size: number of training images.
        seed: which of the paired repetitions.
        recipe: all that the run needs.
    """

    stage: Literal["select", "final"]
    model: str
    train_size: int
    seed: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Name of the cell: what it is, and a digest of everything its result depends on."""
        digest = hashlib.sha256(to_yaml(self.recipe).encode()).hexdigest()[:10]
        return f"{self.stage}-{self.model}-n{self.train_size}-lr{self.recipe.optim.lr:g}-seed{self.seed}-{digest}"

    def says(self, result: dict[str, Any]) -> str:
        """The one number of a result that this cell is about, in words."""
        split: Literal["test", "validation"] = "test" if self.stage == "final" else "validation"
        return f"{100 * accuracy(self.recipe, result, split):.1f} % {split} accuracy"

    def __str__(self) -> str:
        what = f"{self.model}, {self.train_size} images, seed {self.seed}"
        return what if self.stage == "final" else f"{what}, trying lr {self.recipe.optim.lr:g}"


def judged_task(recipe: Recipe) -> str:
    """The task that a learning curve is about: the first one.

    Raises:
        ValueError: it is no classification, so that there is no accuracy to draw.
    """
    name, config = next(iter(recipe.tasks.items()))
    if config.kind != "classification":
        raise ValueError(
            f"a study of learning curves is about the accuracy of the first task, and {name} is a {config.kind}: "
            "name a classification first"
        )
    return name


def accuracy(recipe: Recipe, result: Mapping[str, Any], split: Literal["test", "test_tta", "validation"]) -> float:
    """Accuracy of the first task in a result, in [0, 1]."""
    return float(result[split][judged_task(recipe)]["accuracy"])


def selection_cells(study: Study) -> list[Cell]:
    """The trials of the learning rates, on the largest training size; none where there is one rate."""
    if len(study.learning_rates) == 1:
        return []
    size = study.train_sizes[-1]
    return [
        Cell("select", model, size, seed, study.run(model, size, seed, lr, select=True))
        for seed in range(study.selection_seeds)
        for lr in study.learning_rates
        for model in study.models
    ]


def final_cells(study: Study, learning_rates: Mapping[str, float]) -> list[Cell]:
    """The reported runs; seed by seed, so that a study cut short is still paired."""
    return [
        Cell("final", model, size, seed, study.run(model, size, seed, learning_rates[model], select=False))
        for seed in range(study.seeds)
        for size in study.train_sizes
        for model in study.models
    ]


def validation_accuracy(study: Study, results: Mapping[str, dict[str, Any]]) -> dict[str, dict[float, float]]:
    """Mean validation accuracy by model and learning rate, over the trials that have a result."""
    scores: dict[str, dict[float, list[float]]] = {model: {} for model in study.models}
    for cell in selection_cells(study):
        if cell.key in results:
            score = accuracy(cell.recipe, results[cell.key], "validation")
            scores[cell.model].setdefault(cell.recipe.optim.lr, []).append(score)
    return {model: {lr: float(np.mean(s)) for lr, s in by_lr.items()} for model, by_lr in scores.items()}


def choose_learning_rates(study: Study, results: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """For each model the learning rate of the best mean validation accuracy, the lower one where two tie.

    Raises:
        NoLearningRate: every trial of a model failed.
    """
    if len(study.learning_rates) == 1:
        return dict.fromkeys(study.models, study.learning_rates[0])
    chosen = {}
    for model, scores in validation_accuracy(study, results).items():
        if not scores:
            raise NoLearningRate(f"no learning rate can be chosen for {model}: all of its trials failed")
        chosen[model] = max(sorted(scores), key=lambda lr: scores[lr])
    return chosen
