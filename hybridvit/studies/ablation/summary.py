"""An ablation as JSON, as CSV, and as lines for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridvit.config import to_dict
from hybridvit.recipe import Ablation
from hybridvit.studies.ablation.run import AblationOutcome
from hybridvit.studies.ablation.table import AblationTable, Row, Worth
from hybridvit.studies.learning_curve.table import as_csv
from hybridvit.studies.report.page import json_number, signed


def summary(study: Ablation, table: AblationTable, outcome: AblationOutcome, command: str) -> dict[str, Any]:
    """study.json: every number of the report; accuracies in [0, 1], worths in points."""
    one = next(iter(outcome.results.values()))
    baseline = table.baseline
    return {
        "title": study.title,
        "dataset": one["dataset"],
        "train_images": one["train_images"],
        "test_images": one["test_images"],
        "image_size": one["image_size"],
        "steps": study.base.train.steps,
        "batch_size": study.base.train.batch_size,
        "seeds": study.seeds,
        "base": _row(table.base),
        "without": {row.name: _row(row) for row in table.ingredients},
        "baseline": _row(baseline) if baseline is not None else None,
        "failed": [{"cell": str(cell), "error": error} for cell, error in outcome.failed],
        "seconds": {"runs": sum(result["seconds"]["total"] for result in outcome.results.values())},
        "device": one["device"],
        "versions": one["versions"],
        "revision": one["revision"],
        "command": command,
    }


def table_csv(table: AblationTable) -> str:
    """One line for each row: its accuracy, what the whole recipe has over it, and what it costs."""
    lines = []
    for row in table.rows:
        value, low, high = row.worth.mean if row.worth is not None else (np.nan,) * 3
        p = row.worth.p if row.worth is not None else None
        lines.append(
            {
                "row": row.name,
                "seeds": len(row.seeds),
                "test_accuracy": round(float(row.accuracy.mean()), 6),
                "worth_points": _blank(value),
                "low_points": _blank(low),
                "high_points": _blank(high),
                "p": _blank(p if p is not None else np.nan),
                "params": row.params,
                "seconds": round(float(row.seconds.mean()), 3),
                "seconds_ratio": _blank(row.worth.seconds if row.worth is not None else np.nan),
                "differs": "; ".join(str(difference) for difference in row.differs),
            }
        )
    return as_csv(lines)


def runs_csv(table: AblationTable) -> str:
    """One line for each run."""
    lines = [
        {
            "row": row.name,
            "seed": seed,
            "test_accuracy": round(float(accuracy), 6),
            "params": row.params,
            "seconds": round(float(seconds), 3),
        }
        for row in table.rows
        for seed, accuracy, seconds in zip(row.seeds, row.accuracy, row.seconds, strict=True)
    ]
    return as_csv(lines)


def worth_lines(table: AblationTable) -> list[str]:
    """The table for a terminal."""
    base, claims = table.base, any(row.worth is not None and row.worth.p is not None for row in table.rows)
    lines = [["", "worth, points", "p", "test accuracy without it, %", "seconds", "parameters"]]
    for row in table.rows:
        lines.append(
            [
                row.name,
                worth_text(row.worth) if row is not base else "",
                f"{row.worth.p:.3f}" if row.worth is not None and row.worth.p is not None else "",
                f"{100 * row.accuracy.mean():.2f}",
                f"{row.seconds.mean():.1f}{'' if row is base else f' ({seconds_text(row.worth)})'}",
                f"{row.params:,}{f' ({params_text(row, base)})' if row.params != base.params else ''}",
            ]
        )
    if not claims:
        lines = [line[:2] + line[3:] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    aligned = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return [line.rstrip() for line in aligned]


def worth_text(worth: Worth | None) -> str:
    """A worth in points with its interval."""
    if worth is None:
        return "–"
    value, low, high = worth.mean
    return signed(value, 2) + (f" ({signed(low, 2)} to {signed(high, 2)})" if np.isfinite(low) else "")


def seconds_text(worth: Worth | None) -> str:
    """Training time without an ingredient, against that with everything."""
    if worth is None:
        return "–"
    percent = round(100 * (worth.seconds - 1))
    return f"{signed(percent, 0)} %" if percent else "±0 %"


def params_text(row: Row, base: Row) -> str:
    """Number of parameters against that of the whole recipe."""
    return f"{signed(100 * (row.params / base.params - 1))} %"


def _row(row: Row) -> dict[str, Any]:
    return {
        "differs": [
            {"field": one.field, "base": to_dict(one.before), "here": to_dict(one.after), "text": str(one)}
            for one in row.differs
        ],
        "seeds": list(row.seeds),
        "accuracy": row.accuracy.tolist(),
        "params": row.params,
        "seconds": row.seconds.tolist(),
        "worth": _worth(row.worth),
    }


def _worth(worth: Worth | None) -> dict[str, Any] | None:
    if worth is None:
        return None
    return {
        "points": worth.mean.value,
        "interval": [json_number(worth.mean.low), json_number(worth.mean.high)],
        "seeds": list(worth.seeds),
        "by_seed": worth.gains.tolist(),
        "p": worth.p,
        "seconds_ratio": worth.seconds,
    }


def _blank(value: float) -> float | str:
    return round(value, 4) if np.isfinite(value) else ""
