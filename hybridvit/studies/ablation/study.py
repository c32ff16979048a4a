"""An ablation: a recipe, and the same recipe without each of its ingredients."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import MinLen

from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell, first_task
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
            _check_fixed(self.base, name, row)
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
        train = replace(row.train, evaluate_every=row.train.steps)  # so the last step counts
        return replace(row, name=self.base.name, data=data, train=train, seed=seed)

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


def _check_fixed(base: Recipe, name: str, row: Recipe) -> None:
    """Refuses a row that differs from the base in more than its ingredient: in data, budget or question."""
    changed = _budget(row)
    for path, value in _budget(base).items():
        if changed[path] != value:
            raise ValueError(
                f"{name} changes {path} (base {value!r}, here {changed[path]!r}), which an ablation holds fixed"
            )
    (base_name, base_task), (task_name, task) = (next(iter(one.tasks.items())) for one in (base, row))
    if (task_name, task.kind, task.target) != (base_name, base_task.kind, base_task.target):
        raise ValueError(f"{name} has {task_name} as its first task; all rows are judged by the base's, {base_name}")


def _budget(recipe: Recipe) -> dict[str, object]:
    """What all have in common, by the path of the field."""
    data = {f"data.{field.name}": getattr(recipe.data, field.name) for field in fields(recipe.data)}
    budget = ("steps", "batch_size", "log_every", "evaluate_every")
    train = {f"train.{name}": getattr(recipe.train, name) for name in budget}
    return {"seed": recipe.seed, "tta": recipe.tta, **data, **train}
