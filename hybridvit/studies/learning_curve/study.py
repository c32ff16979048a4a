"""A learning curve for each of several models, everything else held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import MinLen

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.config import PositiveFloat, PositiveInt
from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell, accuracy, first_task
from hybridvit.studies.study import Results, StudyConfig

if TYPE_CHECKING:
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.study import Report


class NoLearningRate(RuntimeError):
    """Every trial of a model failed."""


class Study(StudyConfig):
    """A learning curve for each of several models, everything else held fixed.

    Attributes:
        models: the models compared, by the name the report calls them.
        reference: the model that has none of the built-in assumptions.
        train_sizes: numbers of training images; the subsets are nested and stratified.
        learning_rates: tried for each model on the validation share of the largest training size; the
            one with the best mean validation accuracy is used for all sizes, on all images.
        selection_seeds: repetitions of that trial.
    """

    incomplete: ClassVar[str] = "no seed is complete"

    models: dict[str, ModelConfig]
    reference: str
    train_sizes: Annotated[tuple[PositiveInt, ...], MinLen(1)]
    learning_rates: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (1e-3,)
    selection_seeds: PositiveInt = 1

    def __post_init__(self) -> None:
        if self.reference not in self.models:
            raise ValueError(f"reference {self.reference!r} is none of the models {', '.join(self.models)}")
        if list(self.train_sizes) != sorted(set(self.train_sizes)):
            raise ValueError(f"train_sizes must rise, given {self.train_sizes}")
        if len(self.learning_rates) > 1 and not self.base.data.validation:
            raise ValueError("data.validation is 0, so there is nothing to choose among learning_rates on")
        first_task(self.base, "a study of learning curves")

    def run(self, model: str, train_size: int, seed: int, lr: float, trial: bool) -> Recipe:
        """The recipe of one run; a trial sets the validation share apart, a reported run uses all images."""
        base = self.base
        data = replace(base.data, train_images=train_size, validation=base.data.validation if trial else 0.0)
        optim = replace(base.optim, lr=lr)
        return replace(base, name=f"{base.name}/{model}", model=self.models[model], data=data, optim=optim, seed=seed)

    def previews(self) -> dict[str, Recipe]:
        lr, size = self.learning_rates[0], self.train_sizes[-1]
        return {model: self.run(model, size, 0, lr, trial=False) for model in self.models}

    def trials(self) -> list[Cell]:
        """The trials of the learning rates, on the largest training size; none where there is one rate."""
        if len(self.learning_rates) == 1:
            return []
        return [
            self._cell(model, self.train_sizes[-1], seed, lr, trial=True)
            for seed in range(self.selection_seeds)
            for lr in self.learning_rates
            for model in self.models
        ]

    def cells(self, results: Results) -> list[Cell]:
        rates = self.chosen_rates(results)
        return [
            self._cell(model, size, seed, rates[model], trial=False)
            for seed in range(self.seeds)
            for size in self.train_sizes
            for model in self.models
        ]

    def validation_accuracy(self, results: Results) -> dict[str, dict[float, float]]:
        """Mean validation accuracy by model and learning rate, over the trials that have a result."""
        scores: dict[str, dict[float, list[float]]] = {model: {} for model in self.models}
        for cell in self.trials():
            if cell.key in results:
                score = accuracy(cell.recipe, results[cell.key], "validation")
                scores[cell.arm[0]].setdefault(cell.recipe.optim.lr, []).append(score)
        return {model: {lr: float(np.mean(s)) for lr, s in by_lr.items()} for model, by_lr in scores.items()}

    def chosen_rates(self, results: Results) -> Mapping[str, float]:
        """For each model the learning rate of the best mean validation accuracy, the lower one where two tie.

        Raises:
            NoLearningRate: every trial of a model failed.
        """
        if len(self.learning_rates) == 1:
            return dict.fromkeys(self.models, self.learning_rates[0])
        rates = {}
        for model, scores in self.validation_accuracy(results).items():
            if not scores:
                raise NoLearningRate(f"no learning rate can be chosen for {model}: all of its trials failed")
            rates[model] = max(sorted(scores), key=lambda lr: scores[lr])
        return rates

    def report(self, outcome: Outcome) -> Report | None:
        from hybridvit.studies.learning_curve.report import report

        return report(self, outcome)

    def _cell(self, model: str, size: int, seed: int, lr: float, trial: bool) -> Cell:
        recipe = self.run(model, size, seed, lr, trial)
        text = f"{model}, {size} images" + (f", trying lr {lr:g}" if trial else "")
        label = f"{'trial' if trial else 'run'}-{recipe.model.kind}-n{size}-lr{lr:g}"
        return Cell((model, size), seed, recipe, text, label, trial)
