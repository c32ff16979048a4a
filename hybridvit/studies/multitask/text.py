"""A comparison of tasks in the words and rows of its page."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hybridvit.studies.multitask.study import ALONE, MultiTaskStudy
from hybridvit.studies.multitask.table import Comparison, Effect, Row
from hybridvit.studies.report.page import is_share, metric_name, metric_text, signed
from hybridvit.studies.statistics import Interval


def name_of(study: MultiTaskStudy, row: Row) -> str:
    """Trunk and balance; only the balance where there is one trunk."""
    balance = "each task alone" if row.balance == ALONE else row.balance
    return f"{row.trunk} · {balance}" if len(study.trunks) > 1 else balance


def cards(study: MultiTaskStudy, comparison: Comparison) -> list[dict[str, Any]]:
    """One for each trunk and balance that has a Δm: the number, and what belongs beside it."""
    rows = []
    first = next(iter(study.trunks))
    for row in comparison.rows:
        if row.effect is None:
            continue
        _, low, high = row.effect.delta
        lines = [f"95 % interval {signed(low)} to {signed(high)} %"] if isfinite(low) else []
        gained = sum(task.value > 0 for task in row.effect.tasks.values())
        lines.append(f"{gained} of {len(row.effect.tasks)} tasks better than alone")
        if row.trunk != first and row.against_first is not None:
            lines.append(f"{signed(row.against_first.delta.value)} % against single tasks on {first}")
        rows.append({"name": name_of(study, row), "delta": row.effect.delta, "lines": lines})
    return rows


def gains(study: MultiTaskStudy, comparison: Comparison) -> list[dict[str, Any]]:
    """Δm and its parts by task: against the own trunk's single tasks, then against the first trunk's."""
    first = next(iter(study.trunks))
    several = len(study.trunks) > 1
    own = [(row, row.effect) for row in comparison.rows if row.effect is not None]
    others = [row for row in comparison.rows if row.trunk != first]
    other = [(row, row.against_first) for row in others if row.against_first is not None]
    groups = [("against each task alone" + (" on the same trunk" if several else ""), own)]
    if several:
        groups.append((f"against each task alone on {first}", other))
    return [
        {"name": name, "rows": [_gain(study, row, effect) for row, effect in rows]} for name, rows in groups if rows
    ]


def _gain(study: MultiTaskStudy, row: Row, effect: Effect) -> dict[str, Any]:
    return {
        "name": name_of(study, row),
        "cells": [effect.delta, *(effect.tasks.get(task) for task in study.base.tasks)],
    }


def metric_table(study: MultiTaskStudy, comparison: Comparison) -> dict[str, Any]:
    """The test metrics: heads of the columns, and groups of rows, one for each trunk."""
    columns = comparison.columns
    tasks = [task for task, _ in columns]
    best = {column: _best(comparison, column) for column in columns}
    names = [
        (
            metric_name(metric, is_share(metric, comparison.better[task][metric]), comparison.better[task][metric]),
            index == 0 or tasks[index - 1] != task,
        )
        for index, (task, metric) in enumerate(columns)
    ]
    groups = [
        {
            "name": trunk,
            "rows": [
                {"name": _with_seeds(study, row), "cells": [_cell(comparison, row, c, best[c]) for c in columns]}
                for row in comparison.rows
                if row.trunk == trunk
            ],
        }
        for trunk in study.trunks
    ]
    head = [(task, tasks.count(task)) for task in dict.fromkeys(tasks)]
    return {"head": head, "columns": names, "table": [group for group in groups if group["rows"]]}


def _with_seeds(study: MultiTaskStudy, row: Row) -> str:
    name = "each task alone" if row.balance == ALONE else row.balance
    return name if len(row.seeds) == study.repetitions else f"{name} ({len(row.seeds)} of {study.repetitions} seeds)"


def _best(comparison: Comparison, column: tuple[str, str]) -> float:
    values = [row.metrics[column].value for row in comparison.rows if column in row.metrics]
    task, metric = column
    return max(values) if comparison.better[task][metric] else min(values)


def _cell(comparison: Comparison, row: Row, column: tuple[str, str], best: float) -> dict[str, Any] | None:
    if column not in row.metrics:
        return None
    task, metric = column
    share = is_share(metric, comparison.better[task][metric])
    value, low, high = row.metrics[column]
    interval = f"{metric_text(low, share)} – {metric_text(high, share)}" if isfinite(low) else ""
    return {"value": metric_text(value, share), "interval": interval, "best": value == best}


def cost(study: MultiTaskStudy, comparison: Comparison) -> list[dict[str, Any]]:
    """Parameters and seconds, and their share of what the tasks alone need."""
    base = {row.trunk: row for row in comparison.rows if row.balance == ALONE}
    rows = []
    for row in comparison.rows:
        against = base.get(row.trunk) if row.balance != ALONE else None
        rows.append(
            {
                "name": name_of(study, row),
                "params": row.params,
                "params_share": _share(row.params, against.params) if against else "",
                "seconds": f"{row.seconds:.1f}",
                "seconds_share": _share(row.seconds, against.seconds) if against else "",
            }
        )
    return rows


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def interval_text(interval: Interval) -> str:
    """A gain in % with its interval."""
    value, low, high = interval
    return signed(value) + (f" ({signed(low)} to {signed(high)})" if isfinite(low) else "")
