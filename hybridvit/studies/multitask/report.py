"""The report of a comparison of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from hybridvit import plots
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.studies.claims import claim
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.multitask.study import ALONE, MultiTaskStudy
from hybridvit.studies.multitask.table import Comparison, Effect, Row, compare
from hybridvit.studies.multitask.text import cards, cost, gains, interval_text, metric_table
from hybridvit.studies.report.conflicts import Conflict, mean_conflict
from hybridvit.studies.report.curves import loss_curve
from hybridvit.studies.report.page import Drawing, signed
from hybridvit.studies.report.predictions import Predictions, look
from hybridvit.studies.report.study_report import aligned, as_json, held_fixed, rounded
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL
from hybridvit.studies.study import Report


def report(study: MultiTaskStudy, outcome: Outcome) -> Report | None:
    """What sharing costs or gains; None while no seed of anything is complete."""
    comparison = compare(study, outcome.results)
    if comparison is None:
        return None
    example = next(iter(outcome.results.values()))
    conflicts = _conflicts(study, outcome)
    figures = _figures(study, comparison, outcome, conflicts)
    predicted_by, predictions = _predictions(study, comparison, outcome)
    effects = [effect for row in comparison.rows for effect in (row.effect, row.against_first) if effect is not None]
    pairing = "a seed draws the same images, order and augmentation for the joint and the single runs"
    selection = "none: no validation share is set apart, and the weights of the last step count"
    return Report(
        template="multitask/report.html.jinja",
        figures=figures,
        tables={"table.csv": table_rows(comparison)},
        summary={
            "tasks": {task: config.kind for task, config in study.base.tasks.items()},
            "higher_is_better": comparison.better,
            "seeds": study.repetitions,
            "rows": [_row_json(row) for row in comparison.rows],
            "conflict": [_conflict_json(*names, conflict) for names, conflict in conflicts.items()],
        },
        facts={
            "example": example,
            "seeds_text": "one seed" if study.repetitions == 1 else f"{study.repetitions} paired seeds",
            "cards": cards(study, comparison),
            "claim": claim_of(comparison),
            "gains": gains(study, comparison),
            "left_out": list(dict.fromkeys(name for effect in effects for name in effect.left_out)),
            **metric_table(study, comparison),
            "cost": cost(study, comparison),
            "panels": {trunk: _panel_names(study, trunk, figures) for trunk in study.trunks},
            "conflicts": _shown_conflicts(study, conflicts),
            "predictions": predictions,
            "predicted_by": predicted_by,
            "held_fixed": held_fixed(study.base, example, pairing, selection),
            "intervals": any(len(row.seeds) >= MIN_SEEDS_FOR_INTERVAL for row in comparison.rows),
        },
        lines=lines(study, comparison),
    )


def claim_of(comparison: Comparison) -> str:
    """What the seeds can carry."""
    effects = {f"{row.trunk} · {row.balance}": row.effect for row in comparison.rows if row.effect is not None}
    if not effects:
        return "No Δm yet: no seed has a joint run and all single tasks with a metric to compare, none of them near 0."
    seeds = max(len(effect.seeds) for effect in effects.values())
    return claim({name: effect.p for name, effect in effects.items()}, seeds, "Δm")


def table_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row for each trunk, balance, task and metric."""
    rows = []
    for row in comparison.rows:
        for (task, metric), (value, low, high) in row.metrics.items():
            gain = row.effect.tasks.get(task) if row.effect is not None else None
            rows.append(
                {
                    "trunk": row.trunk,
                    "balance": row.balance,
                    "seeds": len(row.seeds),
                    "task": task,
                    "metric": metric,
                    "higher_is_better": comparison.better[task][metric],
                    "test": round(value, 6),
                    "low": rounded(low),
                    "high": rounded(high),
                    "task_delta": rounded(gain.value if gain is not None else None),
                    "delta_m": rounded(row.effect.delta.value if row.effect is not None else None),
                    "params": row.params,
                    "seconds": round(row.seconds, 3),
                }
            )
    return rows


def lines(study: MultiTaskStudy, comparison: Comparison) -> list[str]:
    """Δm with its interval for each trunk and balance, and its part by task, for a terminal."""
    tasks, first = list(study.base.tasks), next(iter(study.trunks))
    rows = [["Δm in %, against", "", "", *tasks]]
    for row in comparison.rows:
        name = f"{row.trunk} · {'each task alone' if row.balance == ALONE else row.balance}"
        if row.effect is not None:
            rows.append([name, "each task alone", *_line(row.effect, tasks)])
        if row.against_first is not None and row.trunk != first:
            rows.append([name, f"alone on {first}", *_line(row.against_first, tasks)])
    return aligned(rows, 3)


def _line(effect: Effect, tasks: list[str]) -> list[str]:
    parts = [effect.tasks.get(task) for task in tasks]
    return [interval_text(effect.delta), *(signed(part.value) if part is not None else "–" for part in parts)]


def _row_json(row: Row) -> dict[str, Any]:
    metrics: dict[str, dict[str, Any]] = {}
    for (task, metric), interval in row.metrics.items():
        metrics.setdefault(task, {})[metric] = as_json(interval)
    return {
        "trunk": row.trunk,
        "balance": None if row.balance == ALONE else row.balance,
        "seeds": list(row.seeds),
        "metrics": metrics,
        "params": row.params,
        "seconds": row.seconds,
        "delta": _effect_json(row.effect),
        "delta_first": _effect_json(row.against_first, claimed=False),
    }


def _effect_json(effect: Effect | None, claimed: bool = True) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        **as_json(effect.delta),
        "seeds": list(effect.seeds),
        "by_seed": effect.by_seed.tolist(),
        "p": effect.p if claimed else None,
        "tasks": {task: as_json(interval) for task, interval in effect.tasks.items()},
        "left_out": list(effect.left_out),
    }


def _conflict_json(trunk: str, balance: str, conflict: Conflict) -> dict[str, Any]:
    cosines = [[round(float(c), 4) if isfinite(c) else None for c in row] for row in conflict.mean]
    return {
        "trunk": trunk,
        "balance": balance,
        "pairs": list(conflict.pairs),
        "stages": list(conflict.stages),
        "cosine": cosines,
    }


def _conflicts(study: MultiTaskStudy, outcome: Outcome) -> dict[tuple[str, str], Conflict]:
    """By trunk and balance, over all steps and seeds."""
    conflicts = {}
    for trunk in study.trunks:
        for balance in study.balances:
            keys = [study.together(trunk, balance, seed).key for seed in range(study.repetitions)]
            histories = [outcome.results[key]["history"] for key in keys if key in outcome.results]
            conflict = mean_conflict([record for history in histories for record in history.get("conflicts", [])])
            if conflict is not None:
                conflicts[trunk, balance] = conflict
    return conflicts


def _figures(
    study: MultiTaskStudy,
    comparison: Comparison,
    outcome: Outcome,
    conflicts: Mapping[tuple[str, str], Conflict],
) -> dict[str, Drawing]:
    figures: dict[str, Drawing] = {}
    rows = [(row.trunk, row.balance, np.array(row.effect.delta)) for row in comparison.rows if row.effect is not None]
    if rows:
        figures["delta"] = partial(plots.delta_forest, rows)
    for number, trunk in enumerate(study.trunks):
        for task in study.base.tasks:
            lines = _loss_lines(study, trunk, task, outcome)
            if lines:
                draw = partial(plots.curves, lines, task, "loss", alone=ALONE)
                figures[f"loss_{number}_{task}"] = draw
    for (trunk, balance), conflict in conflicts.items():
        name = _conflict_name(study, trunk, balance)
        figures[name] = partial(plots.conflict_map, conflict.mean, conflict.pairs, conflict.stages)
        figures[f"{name}_course"] = partial(plots.conflict_course, conflict.steps, {balance: conflict.course})
    return figures


def _loss_lines(study: MultiTaskStudy, trunk: str, task: str, outcome: Outcome) -> dict[str, plots.Line]:
    cells = {
        balance: [study.together(trunk, balance, s) for s in range(study.repetitions)] for balance in study.balances
    }
    cells[ALONE] = [study.alone(trunk, task, seed) for seed in range(study.repetitions)]
    lines: dict[str, plots.Line] = {}
    for name, of_seeds in cells.items():
        results = [outcome.results[cell.key] for cell in of_seeds if cell.key in outcome.results]
        if results:
            lines[name] = loss_curve(results, task)
    return lines


def _panel_names(study: MultiTaskStudy, trunk: str, figures: Mapping[str, Any]) -> list[str]:
    number = list(study.trunks).index(trunk)
    return [name for task in study.base.tasks if (name := f"loss_{number}_{task}") in figures]


def _conflict_name(study: MultiTaskStudy, trunk: str, balance: str) -> str:
    """A name fit for a file, whatever trunk and balance are called."""
    return f"conflict_{list(study.trunks).index(trunk)}_{list(study.balances).index(balance)}"


def _shown_conflicts(
    study: MultiTaskStudy, conflicts: Mapping[tuple[str, str], Conflict]
) -> dict[str, list[tuple[str, str, str, int]]]:
    """Trunk -> balance, the names of its two figures, and the number of stages."""
    shown: dict[str, list[tuple[str, str, str, int]]] = {}
    for (trunk, balance), conflict in conflicts.items():
        name = _conflict_name(study, trunk, balance)
        shown.setdefault(trunk, []).append((balance, name, f"{name}_course", len(conflict.stages)))
    return shown


def _predictions(study: MultiTaskStudy, comparison: Comparison, outcome: Outcome) -> tuple[str, Predictions | None]:
    """Of the joint run of the first seed whose trunk and balance have the best Δm, where its run folder is there."""

    def value(row: Row) -> float:
        return row.effect.delta.value if row.effect is not None else -np.inf

    for row in sorted((row for row in comparison.rows if row.balance != ALONE), key=value, reverse=True):
        path = outcome.folder.run(study.together(row.trunk, row.balance, 0))
        if (path / "result.json").is_file():
            trained = LoadedRun(path)
            return f"{row.trunk} with all tasks, balance {row.balance}", look(trained, trained.load())
    return "", None
