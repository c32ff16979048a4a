"""Conducts a study of any kind: runs what is missing, keeps every result, writes the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridvit.runs.data_cache import splits_of
from hybridvit.runs.run import Run
from hybridvit.studies.cells import Cell, distinct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.launch import launch
from hybridvit.studies.progress import Display, ProgressDisplay
from hybridvit.studies.report.study_report import write_report
from hybridvit.studies.study import Report, Results, StudyConfig
from hybridvit.studies.time_limit import TimeIsUp, TimeLimit


@dataclass(frozen=True)
class Outcome:
    """A study as far as it went.

    Attributes:
        folder: where it is kept.
        results: cell key -> result, trials included.
        failed: cells that failed, with their errors.
        left: number of cells that there was no time for.
        report: its findings; None while nothing can be compared.
    """

    folder: StudyFolder
    results: Results
    failed: tuple[tuple[Cell, str], ...] = ()
    left: int = 0
    report: Report | None = None


def run_study(study: StudyConfig, folder: str | Path, *, command: str = "", quiet: bool = False) -> Outcome:
    """Runs a study and writes its report; what the folder has already is not run again.

    Args:
        study: a ``Study``, an ``Ablation`` or a ``MultiTaskStudy``.
        folder: where to write; the report is ``report.html`` there.
        command: what a reader types to get the same study.
        quiet: show no progress.

    Raises:
        ValueError: an arm does not fit its data, or the folder holds something else.
    """
    kept = StudyFolder(folder, study)
    previews = study.previews()
    width = max(map(len, previews))
    lines = [study.title]
    for name, recipe in previews.items():
        run = Run(recipe, splits=splits_of(recipe))
        if not len(run.test):
            why = "data.test is 0" if recipe.data.read_test else "data.read_test is false"
            raise ValueError(f"a study is about test results, and {why} ({name})")
        heads = f", {len(run.tasks)} heads" if len(run.tasks) > 1 else ""
        lines.append(f"  {name:<{width}} {run.params:>12,} parameters{heads}")
    if not quiet:
        print("\n".join(lines), file=sys.stderr)
    with nullcontext(Silent()) if quiet else ProgressDisplay() as display:
        outcome = conduct(study, kept, display)
    return write_report(study, outcome, command)


class Silent:
    """A display that shows nothing."""

    def stage(self, name: str, total: int, done: int, workers: int) -> None: ...
    def started(self, cell: Cell) -> None: ...
    def ended(self, cell: Cell, result: dict[str, Any]) -> None: ...


def conduct(study: StudyConfig, folder: StudyFolder, display: Display) -> Outcome:
    """Runs what has no result yet; a finished cell is never run again.

    Raises:
        NoLearningRate: every trial of a model failed, so that no learning rate can be chosen.
        TimeIsUp: there was no time for some of the trials.
    """
    folder.start()
    failed: dict[str, tuple[Cell, str]] = {}
    limit = TimeLimit(study.launch.minutes)
    results: dict[str, dict[str, Any]] = {}
    tried: list[Cell] = []
    while len(trials := distinct(study.trials(results))) > len(tried):
        results = run_missing("trials", trials, study, limit, folder, display, failed)
        if left := sum(cell.key not in results and cell.key not in failed for cell in trials):
            raise TimeIsUp(f"the time is up, and {left} trials are left, then all runs; the same command resumes")
        tried = trials
    cells = distinct(study.cells(results))
    ended = run_missing("runs", cells, study, limit, folder, display, failed)
    left = sum(cell.key not in ended and cell.key not in failed for cell in cells)
    return Outcome(folder, results | ended, tuple(failed.values()), left)


def run_missing(
    name: str,
    cells: Sequence[Cell],
    study: StudyConfig,
    limit: TimeLimit,
    folder: StudyFolder,
    display: Display,
    failed: dict[str, tuple[Cell, str]],
) -> dict[str, dict[str, Any]]:
    """Results of the cells, by key; those without one yet are run in time, and what fails is added to ``failed``.

    Args:
        name: what the display calls this stage.
        cells: what there should be; each key once.
        study: where to run, and which cells keep their run folder.
        limit: of the time.
        folder: where results are kept.
        display: told of every start and end.
        failed: gets each cell that fails with its error, by key; what is there already is not tried again.
    """
    results = folder.read(cells)
    without_weights = {
        cell.key: results.pop(cell.key)  # its weights are asked for now, and were not kept
        for cell in cells
        if cell.key in results and not cell.trial and cell.seed < study.keep and not folder.is_kept(cell)
    }
    missing = [cell for cell in cells if cell.key not in results and cell.key not in failed]
    for result in results.values():
        limit.took(result["seconds"]["total"])
    display.stage(name, len(cells), len(results), study.launch.workers or os.cpu_count() or 1)
    if not missing:
        return without_weights | results
    kept = {cell.key: folder.run(cell) for cell in missing if study.keeps(cell)}
    for cell, result in launch(missing, study.launch, display.started, limit, kept):
        folder.write(cell, result)
        if "error" in result:
            failed[cell.key] = cell, result["error"]
        else:
            results[cell.key] = result
            limit.took(result["seconds"]["total"])
        display.ended(cell, result)
    return without_weights | results
