"""An ablation as a grid of runs: the whole recipe, and the recipe without each of its ingredients."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from hybridvit.config import to_dict
from hybridvit.recipe import Ablation, Recipe
from hybridvit.studies.learning_curve.cells import accuracy

EVERYTHING = "everything"  # what the report calls the base
NOTHING = "nothing added"  # and the baseline


@dataclass(frozen=True)
class AblationCell:
    """One run of an ablation.

    Attributes:
        row: "everything", "without ..." or "nothing added".
        seed: which of the paired repetitions.
        recipe: all that the run needs; it is called what the cell is called.
    """

    row: str
    seed: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Name of the cell, of what it runs alone: another title or name of an ingredient changes nothing."""
        return self.recipe.name

    def says(self, result: dict[str, Any]) -> str:
        """The test accuracy."""
        return f"{100 * accuracy(self.recipe, result, 'test'):.2f} % test accuracy"

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


def rows(study: Ablation) -> dict[str, Recipe]:
    """Every row of the table by what it is called: the base first, the baseline last."""
    found = {EVERYTHING: study.base} | {lacking(ingredient): row for ingredient, row in study.without.items()}
    return found | ({NOTHING: study.baseline} if study.baseline is not None else {})


def lacking(ingredient: str) -> str:
    """The row in which an ingredient is missing."""
    return f"without {ingredient}"


def seeds(study: Ablation) -> range:
    """The paired repetitions."""
    return range(study.base.seed, study.base.seed + study.seeds)


def row_cells(study: Ablation, row: str) -> list[AblationCell]:
    """The runs of one row, seed by seed."""
    recipe = rows(study)[row]
    return [AblationCell(row, seed, _named(study.run(recipe, seed))) for seed in seeds(study)]


def ablation_cells(study: Ablation) -> list[AblationCell]:
    """All runs, seed by seed, so that a study cut short is still paired."""
    return [cell for of_seed in zip(*(row_cells(study, row) for row in rows(study)), strict=True) for cell in of_seed]


def _named(recipe: Recipe) -> Recipe:
    """The recipe named by a digest of everything that its result depends on."""
    digest = hashlib.sha256(json.dumps(to_dict(replace(recipe, name=""))).encode()).hexdigest()[:12]
    return replace(recipe, name=f"{recipe.model.kind}-seed{recipe.seed}-{digest}")
