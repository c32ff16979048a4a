"""An ablation: a recipe, and the same recipe without each of its ingredients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import MinLen

from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell, first_task
from hybridvit.studies.fixed import check_fixed
from hybridvit.studies.study import Results, StudyConfig

if TYPE_CHECKING:
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.study import Report

EVERYTHING = "everything"  # what the report calls the base
NOTHING = "nothing added"  # and the baseline


class Ablation(StudyConfig):
    """The effect of each ingredient of a recipe: the test accuracy that is lost when it alone is removed.

    The first task of the base is the classification whose accuracy counts, and its seed that of the first repetition.

    Attributes:
        without: the same recipe with one ingredient removed or replaced, by the name the report calls the ingredient.
            Data, steps and batch size are those of the base; the rows' own names do not matter.
        baseline: the recipe with all ingredients removed at once; None: that is not asked.
    """

    incomplete: ClassVar[str] = "nothing can be compared"

    without: Annotated[dict[str, Recipe], MinLen(1)]
    baseline: Recipe | None = None

    def __post_init__(self) -> None:
        first_task(self.base, "an ablation")
        rows = {f"without {ingredient}": row for ingredient, row in self.without.items()}
        if self.baseline is not None:
            rows["baseline"] = self.baseline
        seen = {"base": self.base}
        for name, row in rows.items():
            check_fixed(self.base, name, row, "an ablation")
            plain = replace(row, name=self.base.name)
            for other, same in seen.items():
                if plain == same:
                    raise ValueError(f"{name} is the same recipe as {other}, so there is nothing to compare")
            seen[name] = plain

    @property
    def comparisons(self) -> int:
        return len(self.without) + (self.baseline is not None)

    def rows(self) -> dict[str, Recipe]:
        """Every row of the table by its name: the base first, then without each ingredient, the baseline last."""
        rows = {EVERYTHING: self.base} | {f"without {name}": row for name, row in self.without.items()}
        return rows | ({NOTHING: self.baseline} if self.baseline is not None else {})

    def run(self, row: Recipe, seed: int) -> Recipe:
        """The recipe of one run of the base or of a row; no validation share is set apart, as nothing is selected."""
        data, targets = self.base.data, {config.target for config in row.tasks.values()}
        data = replace(
            data,
            validation=0.0,
            stratify=data.stratify or next(iter(self.base.tasks.values())).target,
            hide={column: share for column, share in data.hide.items() if column in targets},
            names={column: names for column, names in data.names.items() if column in targets},
        )
        return replace(row, name=self.base.name, data=data, seed=seed)

    def previews(self) -> dict[str, Recipe]:
        return {name: self.run(row, self.base.seed) for name, row in self.rows().items()}

    def cells(self, results: Results) -> list[Cell]:
        seeds = range(self.base.seed, self.base.seed + self.repetitions)
        return [
            Cell((name,), seed, self.run(row, seed), name, row.model.kind)
            for seed in seeds
            for name, row in self.rows().items()
        ]

    def report(self, outcome: Outcome) -> Report | None:
        from hybridvit.studies.ablation.report import report

        return report(self, outcome)
