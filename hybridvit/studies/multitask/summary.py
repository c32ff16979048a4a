"""A comparison of tasks as JSON, as CSV, and as lines for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hybridvit.recipe import MultiTaskStudy
from hybridvit.studies.learning_curve.table import as_csv
from hybridvit.studies.multitask.cells import ALONE
from hybridvit.studies.multitask.run import TaskOutcome
from hybridvit.studies.multitask.table import Comparison, Row, Worth
from hybridvit.studies.multitask.text import interval_text
from hybridvit.studies.report.conflicts import Conflict
from hybridvit.studies.report.page import json_number, signed
from hybridvit.studies.statistics import Interval


def summary(
    study: MultiTaskStudy,
    comparison: Comparison,
    conflicts: Mapping[tuple[str, str], Conflict],
    outcome: TaskOutcome,
    command: str,
) -> dict[str, Any]:
    """study.json: every number of the report."""
    one = next(iter(outcome.results.values()))
    return {
        "title": study.title,
        "tasks": {task: config.kind for task, config in study.base.tasks.items()},
        "higher_is_better": comparison.better,
        "seeds": study.seeds,
        "rows": [_row(row) for row in comparison.rows],
        "conflict": [
            {
                "trunk": trunk,
                "balance": balance,
                "pairs": list(conflict.pairs),
                "stages": list(conflict.stages),
                "cosine": [[json_number(round(float(c), 4)) for c in row] for row in conflict.mean],
            }
            for (trunk, balance), conflict in conflicts.items()
        ],
        "failed": [{"cell": str(cell), "error": error} for cell, error in outcome.failed],
        "seconds": {"runs": sum(result["seconds"]["total"] for result in outcome.results.values())},
        "device": one["device"],
        "versions": one["versions"],
        "revision": one["revision"],
        "command": command,
    }


def table_csv(study: MultiTaskStudy, comparison: Comparison) -> str:
    """One line for each trunk, balance, task and metric."""
    lines = []
    for row in comparison.rows:
        for (task, metric), (value, low, high) in row.metrics.items():
            gain = row.worth.tasks.get(task) if row.worth is not None else None
            lines.append(
                {
                    "trunk": row.trunk,
                    "balance": row.balance,
                    "seeds": len(row.seeds),
                    "task": task,
                    "metric": metric,
                    "higher_is_better": comparison.better[task][metric],
                    "test": round(value, 6),
                    "low": _blank(low),
                    "high": _blank(high),
                    "task_delta": _blank(gain.value if gain is not None else np.nan),
                    "delta_m": _blank(row.worth.delta.value if row.worth is not None else np.nan),
                    "params": row.params,
                    "seconds": round(row.seconds, 3),
                }
            )
    return as_csv(lines)


def delta_lines(study: Path | Mapping[str, Any]) -> list[str]:
    """Δm with its interval for each trunk and balance, and its part by task, for a terminal.

    Args:
        study: a study.json, the folder it is in, or what it holds.

    Raises:
        ValueError: it is no comparison of tasks.
    """
    if isinstance(study, Path):
        path = study / "study.json" if study.is_dir() else study
        if not path.is_file():
            raise ValueError(f"there is no {path}")
        study = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(study, Mapping)
    if "rows" not in study:
        raise ValueError("this study.json is no comparison of tasks")
    tasks = list(study["tasks"])
    table = [["Δm in %, against", "", "", *tasks]]
    first = study["rows"][0]["trunk"]
    for row in study["rows"]:
        name = f"{row['trunk']} · {row['balance'] or 'each task alone'}"
        own, other = row["delta"], row["delta_first"]
        if own is not None:
            table.append([name, "each task alone", *_cells(own, tasks)])
        if other is not None and row["trunk"] != first:
            table.append([name, f"alone on {first}", *_cells(other, tasks)])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def _cells(delta: Mapping[str, Any], tasks: list[str]) -> list[str]:
    parts = [delta["tasks"].get(task) for task in tasks]
    values = [signed(part["mean"]) if part is not None else "–" for part in parts]
    return [interval_text(_interval(delta)), *values]


def _interval(part: Mapping[str, Any]) -> Interval:
    low, high = part["interval"]
    return Interval(part["mean"], np.nan if low is None else low, np.nan if high is None else high)


def _row(row: Row) -> dict[str, Any]:
    metrics: dict[str, dict[str, Any]] = {}
    for (task, metric), interval in row.metrics.items():
        metrics.setdefault(task, {})[metric] = _json(interval)
    return {
        "trunk": row.trunk,
        "balance": None if row.balance == ALONE else row.balance,
        "seeds": list(row.seeds),
        "metrics": metrics,
        "params": row.params,
        "seconds": row.seconds,
        "delta": _worth(row.worth),
        "delta_first": _worth(row.against_first),
    }


def _worth(worth: Worth | None) -> dict[str, Any] | None:
    if worth is None:
        return None
    return {
        **_json(worth.delta),
        "seeds": list(worth.seeds),
        "p": worth.p,
        "tasks": {task: _json(interval) for task, interval in worth.tasks.items()},
        "left_out": list(worth.left_out),
    }


def _json(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.value, "interval": [json_number(interval.low), json_number(interval.high)]}


def _blank(value: float) -> float | str:
    return round(value, 6) if np.isfinite(value) else ""
