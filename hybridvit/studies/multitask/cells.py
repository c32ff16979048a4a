"""A comparison of tasks as a grid of runs: all tasks together, and every task alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hybridvit.config import to_yaml
from hybridvit.recipe import MultiTaskStudy, Recipe

ALONE = "alone"  # what the tasks by themselves are called, beside the names of the balances


@dataclass(frozen=True)
class TaskCell:
    """One run of the comparison.

    Attributes:
        trunk: name of the trunk in the study.
        seed: which of the paired repetitions.
        balance: name of the balance; None: a task alone.
        task: the task that is alone; None: all together.
        recipe: all that the run needs; it is called what the cell is called.
    """

    trunk: str
    seed: int
    balance: str | None
    task: str | None
    recipe: Recipe

    @property
    def key(self) -> str:
        """Name of the cell, of what it runs alone: another name of the study, a trunk or a balance changes nothing."""
        return self.recipe.name

    def says(self, result: dict[str, Any]) -> str:
        """The first test metric of every task."""
        firsts = {task: next(iter(metrics.items())) for task, metrics in (result["test"] or {}).items() if metrics}
        return ", ".join(f"{task} {metric} {value:.3g}" for task, (metric, value) in firsts.items())

    def __str__(self) -> str:
        what = f"{self.task} alone" if self.task is not None else f"all tasks, {self.balance}"
        return f"{self.trunk}, {what}, seed {self.seed}"


def task_cells(study: MultiTaskStudy) -> list[TaskCell]:
    """All runs, seed by seed, so that a study cut short is still paired."""
    return [cell for seed in range(study.seeds) for trunk in study.trunks for cell in _of_trunk(study, trunk, seed)]


def alone(study: MultiTaskStudy, trunk: str, task: str, seed: int) -> TaskCell:
    """The run of one task by itself."""
    return TaskCell(trunk, seed, None, task, _named(study.single(trunk, task, seed), f"{task}-alone"))


def together(study: MultiTaskStudy, trunk: str, balance: str, seed: int) -> TaskCell:
    """The run of all tasks on one trunk."""
    return TaskCell(
        trunk, seed, balance, None, _named(study.joint(trunk, balance, seed), f"all-{study.balances[balance].kind}")
    )


def distinct(cells: Iterable[TaskCell]) -> list[TaskCell]:
    """Each run once, where two names mean the same."""
    return list({cell.key: cell for cell in reversed(list(cells))}.values())[::-1]


def _of_trunk(study: MultiTaskStudy, trunk: str, seed: int) -> list[TaskCell]:
    singles = [alone(study, trunk, task, seed) for task in study.base.tasks]
    return singles + [together(study, trunk, balance, seed) for balance in study.balances]


def _named(recipe: Recipe, what: str) -> Recipe:
    """The recipe named by what it is and a digest of everything that its result depends on."""
    digest = hashlib.sha256(to_yaml(replace(recipe, name="")).encode()).hexdigest()[:12]
    return replace(recipe, name=f"{recipe.model.kind}-{what}-seed{recipe.seed}-{digest}")
