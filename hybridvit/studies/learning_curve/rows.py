"""The results of a study as plain rows, for CSV files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridvit.recipe import Recipe
from hybridvit.studies.cells import accuracy as measured
from hybridvit.studies.learning_curve.equivalence import Factor
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.learning_curve.table import Table
from hybridvit.studies.report.study_report import rounded
from hybridvit.studies.study import Results


def run_rows(study: Study, results: Results) -> list[dict[str, Any]]:
    """One row for each reported run; the last columns only where something was measured."""
    rows = []
    for cell in study.cells(results):
        if cell.key in results:
            result = results[cell.key]
            rows.append(
                {
                    "model": cell.arm[0],
                    "train_images": cell.arm[1],
                    "steps": result["steps"],
                    "seed": cell.seed,
                    "lr": cell.recipe.optim.lr,
                    "test_accuracy": round(measured(cell.recipe, result, "test"), 6),
                    "params": result["params"],
                    "multiply_adds": result.get("multiply_adds"),
                    "seconds": round(result["seconds"]["total"], 3),
                    "device": result["device"],
                    "train_seconds": round(result["seconds"]["train"], 3),
                    "compile_seconds": round(result["seconds"]["compile"], 3),
                    **_further(cell.recipe, result),
                }
            )
    return rows


def _further(recipe: Recipe, result: Mapping[str, Any]) -> dict[str, float]:
    """The accuracy with test-time augmentation and the energy of the training, where they were measured."""
    columns = {}
    if recipe.tta:
        columns["test_accuracy_tta"] = round(measured(recipe, result, "test_tta"), 6)
    if "joules" in result:
        columns["train_joules"] = round(result["joules"]["train"], 1)
    return columns


def variant_rows(table: Table) -> list[dict[str, Any]]:
    """One row for each variant and training size: points of accuracy that it has over its model."""
    return [
        {
            "variant": one.variant,
            "against": one.against,
            "train_images": size,
            "seeds": len(one.seeds),
            "test_accuracy": round(one.accuracy[size].value, 6),
            "difference_points": round(difference.value, 4),
            "low_points": rounded(difference.low, 4),
            "high_points": rounded(difference.high, 4),
            "p_over_sizes": rounded(table.p[one.variant], 4),
        }
        for one in table.variants
        for size, difference in one.by_size.items()
    ]


def table_rows(table: Table) -> list[dict[str, Any]]:
    """One row for each model and training size: accuracy and data-equivalence factors with their intervals.

    The reference's factors are 1. Where a factor is only a bound, the value or the end that is not known is empty.
    """
    rows = []
    for model in table.accuracy:
        for index, size in enumerate(table.sizes):
            mean, low, high = table.interval(model, index)
            worth = table.equivalence.get(model)
            rows.append(
                {
                    "model": model,
                    "train_images": int(size),
                    "seeds": len(table.seeds),
                    "test_accuracy": round(mean, 6),
                    "low": rounded(low),
                    "high": rounded(high),
                    **_factor_columns("equivalence_at_size", worth.by_size[index] if worth else None),
                    **_factor_columns("equivalence", worth.factor if worth else None),
                }
            )
    return rows


def _factor_columns(name: str, factor: Factor | None) -> dict[str, Any]:
    value, low, high = (factor.value, factor.low, factor.high) if factor else (1.0, 1.0, 1.0)
    return {
        name: rounded(value, 4) if value > 0 and (factor is None or factor.resolved) else "",
        f"{name}_low": rounded(low, 4) if low > 0 else "",
        f"{name}_high": rounded(high, 4),
        f"{name}_bound": (factor.bound or "") if factor else "",
    }
