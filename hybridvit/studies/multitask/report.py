"""The report of a comparison of tasks: one self-contained page, and the same as JSON, CSV and PNG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hybridvit import plots
from hybridvit.recipe import MultiTaskStudy
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.studies.conduct import StudyFolder
from hybridvit.studies.multitask.cells import ALONE, alone, together
from hybridvit.studies.multitask.run import TaskOutcome
from hybridvit.studies.multitask.summary import summary, table_csv
from hybridvit.studies.multitask.table import Comparison, Row, compare
from hybridvit.studies.multitask.text import cards, claim, cost, gains, held_fixed, metric_table, seeds_text
from hybridvit.studies.report.conflicts import Conflict, mean_conflict
from hybridvit.studies.report.curves import loss_curve
from hybridvit.studies.report.page import Drawing, drawn, render
from hybridvit.studies.report.predictions import Predictions, look
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL
from hybridvit.training.checkpoint import write_text


def write_task_report(study: MultiTaskStudy, folder: StudyFolder, outcome: TaskOutcome, command: str) -> Path | None:
    """Writes report.html, study.json, table.csv and the PNGs; None while no seed of anything is complete.

    Args:
        study: the study.
        folder: where to write.
        outcome: its results.
        command: what a reader types to get the same study.
    """
    comparison = compare(study, outcome.results)
    if comparison is None:
        return None
    conflicts = _conflicts(study, outcome)
    drawings = _figures(study, comparison, outcome, conflicts)
    figures = {name: drawn(draw, folder.path / f"{name}.png") for name, draw in drawings.items()}
    whole = summary(study, comparison, conflicts, outcome, command)
    write_text(folder.path / "table.csv", table_csv(study, comparison))
    write_text(folder.path / "study.json", json.dumps(whole, indent=1))
    predicted_by, predictions = _predictions(study, comparison, folder)
    worths = [worth for row in comparison.rows for worth in (row.worth, row.against_first) if worth is not None]
    page = render(
        "multitask/report.html.jinja",
        study=study,
        figures=figures,
        summary=whole,
        seeds_text=seeds_text(study),
        cards=cards(study, comparison),
        claim=claim(comparison),
        failed=outcome.failed,
        gains=gains(study, comparison),
        left_out=list(dict.fromkeys(name for worth in worths for name in worth.left_out)),
        **metric_table(study, comparison),
        cost=cost(study, comparison),
        panels={trunk: _panel_names(study, trunk, figures) for trunk in study.trunks},
        conflicts=_shown_conflicts(study, conflicts),
        predictions=predictions,
        predicted_by=predicted_by,
        held_fixed=held_fixed(study, next(iter(outcome.results.values()))),
        intervals=any(len(row.seeds) >= MIN_SEEDS_FOR_INTERVAL for row in comparison.rows),
    )
    write_text(folder.path / "report.html", page)
    return folder.path / "report.html"


def _conflicts(study: MultiTaskStudy, outcome: TaskOutcome) -> dict[tuple[str, str], Conflict]:
    """By trunk and balance, over all steps and seeds."""
    found = {}
    for trunk in study.trunks:
        for balance in study.balances:
            keys = [together(study, trunk, balance, seed).key for seed in range(study.seeds)]
            histories = [outcome.results[key]["history"] for key in keys if key in outcome.results]
            conflict = mean_conflict([record for history in histories for record in history.get("conflicts", [])])
            if conflict is not None:
                found[trunk, balance] = conflict
    return found


def _figures(
    study: MultiTaskStudy,
    comparison: Comparison,
    outcome: TaskOutcome,
    conflicts: Mapping[tuple[str, str], Conflict],
) -> dict[str, Drawing]:
    figures: dict[str, Drawing] = {}
    rows = [(row.trunk, row.balance, np.array(row.worth.delta)) for row in comparison.rows if row.worth is not None]
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


def _loss_lines(study: MultiTaskStudy, trunk: str, task: str, outcome: TaskOutcome) -> dict[str, plots.Line]:
    cells = {balance: [together(study, trunk, balance, s) for s in range(study.seeds)] for balance in study.balances}
    cells[ALONE] = [alone(study, trunk, task, seed) for seed in range(study.seeds)]
    found: dict[str, plots.Line] = {}
    for name, of_seeds in cells.items():
        results = [outcome.results[cell.key] for cell in of_seeds if cell.key in outcome.results]
        if results:
            found[name] = loss_curve(results, task)
    return found


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


def _predictions(study: MultiTaskStudy, comparison: Comparison, folder: StudyFolder) -> tuple[str, Predictions | None]:
    """Of the joint run of the first seed whose trunk and balance have the best Δm, where its run folder is there."""

    def value(row: Row) -> float:
        return row.worth.delta.value if row.worth is not None else -np.inf

    for row in sorted((row for row in comparison.rows if row.balance != ALONE), key=value, reverse=True):
        path = folder.run(together(study, row.trunk, row.balance, 0))
        if (path / "result.json").is_file():
            trained = LoadedRun(path)
            return f"{row.trunk} with all tasks, balance {row.balance}", look(trained, trained.load())
    return "", None
