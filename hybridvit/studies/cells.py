"""One run of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from hybridvit.config import to_dict
from hybridvit.recipe import Recipe

# Fields that recipes did not always have, with the value that changes nothing: cells from before are found again.
LATER_FIELDS = {("data", "validation_from"): "subset", ("data", "read_test"): True}


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        arm: where it stands in the study, as the kind of study counts: ("ViT", 90), ("without EMA",), ...
        seed: which of the paired repetitions.
        recipe: all that the run needs.
        text: the arm in words.
        label: beginning of the cell's name; what it runs, whatever the study calls it.
        trial: it is judged on validation images and is not reported.
    """

    arm: tuple[Any, ...]
    seed: int
    recipe: Recipe
    text: str
    label: str
    trial: bool = False

    @cached_property
    def key(self) -> str:
        """Name of the cell, fit for a file, with a digest of all that its result depends on.

        Names of the study, of an arm or of the recipe are no part of it: a finished cell is found again under others.
        """
        recipe = to_dict(replace(self.recipe, name=""))
        for (part, name), value in LATER_FIELDS.items():
            if recipe[part][name] == value:
                del recipe[part][name]
        digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
        return f"{self.label}-seed{self.seed}-{digest[:12]}"

    def summarise(self, result: Mapping[str, Any]) -> str:
        """The first metric of every task of a result, while the other cells run."""
        if "diverged" in result:
            return "diverged"
        split = "validation" if self.trial else "test"
        words = []
        for task, metrics in (result[split] or {}).items():
            for metric, value in list(metrics.items())[:1]:
                name = f"{task} {metric}" if len(self.recipe.tasks) > 1 else metric
                shown = f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.3g}"
                words.append(f"{shown} {split} {name}")
        return ", ".join(words)

    def __str__(self) -> str:
        return f"{self.text}, seed {self.seed}"


def first_task(recipe: Recipe, what: str) -> str:
    """Name of the classification whose accuracy a study is about: the recipe's first task.

    Raises:
        ValueError: it is no classification, so that there is no accuracy.
    """
    name, config = next(iter(recipe.tasks.items()))
    if config.kind != "classification":
        fault = f"{what} is about the accuracy of the first task, and {name} is a {config.kind}"
        raise ValueError(f"{fault}: name a classification first")
    return name


def accuracy(recipe: Recipe, result: Mapping[str, Any], split: Literal["test", "test_tta", "validation"]) -> float:
    """Accuracy of the first task in a result, in [0, 1]; of a trial that diverged 0."""
    if "diverged" in result:
        return 0.0
    return float(result[split][next(iter(recipe.tasks))]["accuracy"])


def distinct(cells: list[Cell]) -> list[Cell]:
    """Each run once, where two arms mean the same."""
    return list({cell.key: cell for cell in reversed(cells)}.values())[::-1]
