"""A learning curve for each of several models, everything else held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import MinLen

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.config import Config, PositiveFloat, PositiveInt
from hybridvit.recipe import Recipe
from hybridvit.runs.stage_config import CNNTeacherConfig, PretrainConfig
from hybridvit.studies.cells import Cell, accuracy, first_task
from hybridvit.studies.learning_curve.learning_rates import extended, peak_rate
from hybridvit.studies.study import Results, StudyConfig

if TYPE_CHECKING:
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.study import Report

TWICE = "twice"  # the third part of an arm that is trained for twice the steps


class NoLearningRate(RuntimeError):
    """Every trial of a model failed."""


class Variant(Config):
    """A model that is compared with one of the study's models at some of its training sizes.

    Attributes:
        model: what is trained.
        teacher: a small CNN that it follows; None: none.
        pretrain: what it learns from the training images without their labels first; None: nothing.
        against: the study's model that it is compared with.
        train_sizes: at which of the study's training sizes.
    """

    model: ModelConfig
    teacher: CNNTeacherConfig | None = None
    pretrain: PretrainConfig | None = None
    against: str
    train_sizes: Annotated[tuple[PositiveInt, ...], MinLen(1)]


class Arm(NamedTuple):
    """A model, or a variant, at a training size."""

    model: str
    train_size: int


class Study(StudyConfig):
    """A learning curve for each of several models, everything else held fixed.

    Attributes:
        models: the models compared, by the name the report calls them.
        reference: the model that has none of the built-in assumptions.
        train_sizes: numbers of training images; the subsets are nested and stratified.
        steps: number of updates at each of these sizes; empty: ``base.train.steps`` at all of them.
        learning_rates: the grid that the learning rate of each model at each size is chosen from, on validation images
            that the trial does not train on. Where the best of the grid is at its edge, the grid is extended by its own
            ratio. The peak of the parabola through the best and its neighbours is chosen, and then used on all images
            of that size. One rate: nothing is chosen.
        selection_seeds: repetitions of each trial.
        variants: further models, each compared with one of the models at some of the sizes.
        double_steps_at: training sizes at which every model is also trained for twice the steps, to show whether the
            steps suffice.
        double_steps_seeds: repetitions of that.
    """

    incomplete: ClassVar[str] = "no seed is complete"

    models: dict[str, ModelConfig]
    reference: str
    train_sizes: Annotated[tuple[PositiveInt, ...], MinLen(1)]
    steps: tuple[PositiveInt, ...] = ()
    learning_rates: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (1e-3,)
    selection_seeds: PositiveInt = 2
    variants: dict[str, Variant] = field(default_factory=dict)
    double_steps_at: tuple[PositiveInt, ...] = ()
    double_steps_seeds: PositiveInt = 3

    def __post_init__(self) -> None:
        if self.reference not in self.models:
            raise ValueError(f"reference {self.reference!r} is none of the models {', '.join(self.models)}")
        if list(self.train_sizes) != sorted(set(self.train_sizes)):
            raise ValueError(f"train_sizes must rise, given {self.train_sizes}")
        if self.steps and len(self.steps) != len(self.train_sizes):
            raise ValueError(f"steps has {len(self.steps)} values for {len(self.train_sizes)} train_sizes")
        if list(self.learning_rates) != sorted(set(self.learning_rates)):
            raise ValueError(f"learning_rates must rise, given {self.learning_rates}")
        if len(self.learning_rates) > 1 and not self.base.data.validation:
            raise ValueError("data.validation is 0, so there is nothing to choose among learning_rates on")
        self._check_sizes("double_steps_at", self.double_steps_at)
        for name, variant in self.variants.items():
            if name in self.models:
                raise ValueError(f"variant {name!r} has the name of a model")
            if variant.against not in self.models:
                raise ValueError(f"variant {name!r} is against {variant.against!r}, none of {', '.join(self.models)}")
            self._check_sizes(f"train_sizes of variant {name!r}", variant.train_sizes)
        first_task(self.base, "a study of learning curves")

    def _check_sizes(self, what: str, sizes: tuple[int, ...]) -> None:
        if list(sizes) != sorted(set(sizes)):
            raise ValueError(f"{what} must rise, given {sizes}")
        for size in sizes:
            if size not in self.train_sizes:
                raise ValueError(f"{what}: {size} is none of train_sizes {self.train_sizes}")

    @property
    def comparisons(self) -> int:
        return max(len(self.models) - 1 + len(self.variants), 1)

    def steps_at(self, train_size: int) -> int:
        """Number of updates at a training size."""
        return self.steps[self.train_sizes.index(train_size)] if self.steps else self.base.train.steps

    def arms(self) -> list[Arm]:
        """Every model and variant at each of its sizes."""
        models = [Arm(model, size) for size in self.train_sizes for model in self.models]
        return models + [Arm(name, size) for name, variant in self.variants.items() for size in variant.train_sizes]

    def run(self, arm: Arm, seed: int, lr: float, trial: bool = False, times: int = 1) -> Recipe:
        """The recipe of one run.

        A trial sets a validation split apart from all training images, and does not read the test split; a reported run
        uses all images of its size.

        Args:
            arm: model and training size.
            seed: which repetition.
            lr: learning rate.
            trial: whether it is one.
            times: as many times the steps.
        """
        base = self.base
        if (variant := self.variants.get(arm.model)) is not None:
            recipe = replace(base, model=variant.model, teacher=variant.teacher, pretrain=variant.pretrain)
        else:
            recipe = replace(base, model=self.models[arm.model])
        data = replace(
            base.data,
            train_images=arm.train_size,
            validation=base.data.validation if trial else 0.0,
            validation_from="all" if trial else "subset",
            read_test=not trial,
        )
        steps = self.steps_at(arm.train_size)
        train = replace(recipe.train, steps=times * steps, evaluate_every=times * steps)  # so the last step counts
        optim = replace(recipe.optim, lr=lr)
        return replace(recipe, name=f"{base.name}/{arm.model}", data=data, optim=optim, train=train, seed=seed)

    def previews(self) -> dict[str, Recipe]:
        largest = {arm.model: arm for arm in self.arms()}
        return {name: self.run(arm, 0, self.learning_rates[0]) for name, arm in largest.items()}

    def trials(self, results: Results) -> list[Cell]:
        """The trials of the learning rates of every arm; none where there is one rate.

        Where the results say that the best rate is at the edge of its grid, there are more.
        """
        if len(self.learning_rates) == 1:
            return []
        return [cell for arm in self.arms() for lr in self._rates(arm, results) for cell in self.trials_of(arm, lr)]

    def trials_of(self, arm: Arm, lr: float) -> list[Cell]:
        """The repetitions of the trial of one rate."""
        return [self._cell(arm, seed, lr, trial=True) for seed in range(self.selection_seeds)]

    def cells(self, results: Results) -> list[Cell]:
        """Seed by seed; those with twice the steps after all others of their seed."""
        rates = self.chosen_rates(results)
        return [
            cell
            for seed in range(self.repetitions)
            for cell in (
                *(self._cell(arm, seed, rates[arm]) for arm in self.arms()),
                *self._doubled(seed, rates),
            )
        ]

    def doubled(self, results: Results) -> list[Cell]:
        """The runs with twice the steps."""
        rates = self.chosen_rates(results)
        return [cell for seed in range(self.repetitions) for cell in self._doubled(seed, rates)]

    def _doubled(self, seed: int, rates: Mapping[Arm, float]) -> list[Cell]:
        if seed >= self.double_steps_seeds:
            return []
        arms = [Arm(model, size) for size in self.double_steps_at for model in self.models]
        return [self._cell(arm, seed, rates[arm], times=2) for arm in arms]

    def validation_accuracy(self, results: Results) -> dict[Arm, dict[float, float]]:
        """Mean validation accuracy by arm and learning rate, of the rates whose trials all have a result.

        Where no rate of an arm is complete, of those that have any result.
        """
        means = {}
        for arm in self.arms():
            scores = {lr: self._scores(arm, lr, results) for lr in self._rates(arm, results)}
            least = self.selection_seeds if any(len(s) == self.selection_seeds for s in scores.values()) else 1
            means[arm] = {lr: float(np.mean(values)) for lr, values in scores.items() if len(values) >= least}
        return means

    def chosen_rates(self, results: Results) -> dict[Arm, float]:
        """For each arm the learning rate of the best mean validation accuracy; see :func:`peak_rate`.

        Raises:
            NoLearningRate: every trial of an arm failed.
        """
        if len(self.learning_rates) == 1:
            return dict.fromkeys(self.arms(), self.learning_rates[0])
        rates = {}
        for arm, scores in self.validation_accuracy(results).items():
            if not scores:
                what = f"{arm.model} at {arm.train_size} images"
                raise NoLearningRate(f"no learning rate can be chosen for {what}: all of its trials failed")
            rates[arm] = peak_rate(scores)
        return rates

    def _rates(self, arm: Arm, results: Results) -> tuple[float, ...]:
        """The rates tried for an arm, as far as the results say."""

        def mean_score(lr: float) -> float | None:
            scores = self._scores(arm, lr, results)
            return float(np.mean(scores)) if len(scores) == self.selection_seeds else None

        return extended(self.learning_rates, mean_score)

    def _scores(self, arm: Arm, lr: float, results: Results) -> list[float]:
        """Validation accuracy of the trials of a rate that have a result."""
        cells = self.trials_of(arm, lr)
        return [accuracy(cell.recipe, results[cell.key], "validation") for cell in cells if cell.key in results]

    def report(self, outcome: Outcome) -> Report | None:
        from hybridvit.studies.learning_curve.report import report

        return report(self, outcome)

    def _cell(self, arm: Arm, seed: int, lr: float, trial: bool = False, times: int = 1) -> Cell:
        recipe = self.run(arm, seed, lr, trial, times)
        text = f"{arm.model}, {arm.train_size} images"
        text += f", trying lr {lr:g}" if trial else ", twice the steps" if times > 1 else ""
        label = f"{'trial' if trial else 'run'}-{recipe.model.kind}-n{arm.train_size}-lr{lr:g}"
        return Cell((*arm, TWICE) if times > 1 else arm, seed, recipe, text, label, trial)
