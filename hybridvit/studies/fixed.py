"""What the arms of a study hold fixed."""

from __future__ import annotations

from dataclasses import fields

from hybridvit.recipe import Recipe


def check_fixed(base: Recipe, name: str, row: Recipe, study: str) -> None:
    """Refuses a recipe that differs from the base in data, budget or question.

    Args:
        base: what is held fixed.
        name: of the recipe, for the error.
        row: the recipe.
        study: what kind of study it is, for the error.

    Raises:
        ValueError: naming the field.
    """
    changed = _budget(row)
    for path, value in _budget(base).items():
        if changed[path] != value:
            raise ValueError(
                f"{name} changes {path} (base {value!r}, here {changed[path]!r}), which {study} holds fixed"
            )
    (base_name, base_task), (task_name, task) = (next(iter(one.tasks.items())) for one in (base, row))
    if (task_name, task.kind, task.target) != (base_name, base_task.kind, base_task.target):
        raise ValueError(f"{name} has {task_name} as its first task; all are judged by the base's, {base_name}")


def _budget(recipe: Recipe) -> dict[str, object]:
    """What all have in common, by the path of the field."""
    data = {f"data.{field.name}": getattr(recipe.data, field.name) for field in fields(recipe.data)}
    budget = ("steps", "batch_size", "log_every", "evaluate_every")
    train = {f"train.{name}": getattr(recipe.train, name) for name in budget}
    return {"seed": recipe.seed, "tta": recipe.tta, **data, **train}
