"""Conducts a study: choose learning rates, run the grid, keep every result, write the report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hybridvit.config import from_yaml, to_yaml
from hybridvit.recipe import Ablation, LaunchConfig, MultiTaskStudy, Study
from hybridvit.studies.launch import AnyCell, launch
from hybridvit.studies.learning_curve.cells import (
    Cell,
    choose_learning_rates,
    final_cells,
    judged_task,
    selection_cells,
)
from hybridvit.studies.progress import Display
from hybridvit.studies.time_limit import TimeIsUp, TimeLimit
from hybridvit.training.checkpoint import write_text

C = TypeVar("C", bound=AnyCell)


class StudyFolder:
    """A study on disk: study.yaml, one JSON file for each finished run under cells/, and the report.

    A comparison of tasks or an ablation may change between two calls (more seeds, other balances or ingredients,
    another title): its cells are named by what they ran, and what it shares with the old one is not run again.

    Args:
        path: the folder; made when the first file is written.
        study: what it holds.

    Raises:
        ValueError: the folder holds another study, or files that are no study.
    """

    def __init__(self, path: Path, study: Study | MultiTaskStudy | Ablation) -> None:
        self.path = path
        self.yaml = to_yaml(replace(study, launch=LaunchConfig()))  # where it runs is no part of what it is
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, not a folder for a study")
        held = path / "study.yaml"
        if held.exists():
            if not _goes_on(held.read_text(encoding="utf-8"), self.yaml, study):
                raise ValueError(f"{path} already holds another study: choose another --out")
        elif path.is_dir() and any(path.iterdir()):
            raise ValueError(f"{path} is not empty and holds no study: choose another --out")

    def start(self) -> None:
        """Writes study.yaml."""
        write_text(self.path / "study.yaml", self.yaml)

    def run(self, cell: AnyCell) -> Path:
        """The run folder of a cell that keeps one."""
        return self.path / "runs" / cell.key

    def cell(self, cell: AnyCell) -> Path:
        """The file of a finished cell."""
        return self.path / "cells" / f"{cell.key}.json"

    def read(self, cells: Sequence[AnyCell]) -> dict[str, dict[str, Any]]:
        """Results of those cells that are finished, by key."""
        found = {}
        for cell in cells:
            path = self.cell(cell)
            if path.exists():
                found[cell.key] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def write(self, cell: AnyCell, result: dict[str, Any]) -> None:
        """Keeps a result, or, for a failed cell, its traceback beside where the result would be."""
        path = self.cell(cell)
        failure = path.with_suffix(".failed.txt")
        if "error" in result:
            write_text(failure, result["traceback"])
        else:
            write_text(path, json.dumps(result, indent=1))
            failure.unlink(missing_ok=True)


@dataclass(frozen=True)
class Outcome:
    """A study as far as it went.

    Attributes:
        learning_rates: the chosen learning rate of each model.
        results: cell key -> result, trials included.
        failed: cells that failed, with their errors.
        left: number of cells that there was no time for.
    """

    learning_rates: dict[str, float]
    results: dict[str, dict[str, Any]]
    failed: tuple[tuple[Cell, str], ...]
    left: int = 0


def conduct(study: Study, folder: StudyFolder, display: Display) -> Outcome:
    """Runs what has no result yet; a finished cell is never run again.

    Raises:
        ValueError: the first task of the study is no classification.
        NoLearningRate: every trial of a model failed, so that no learning rate can be chosen.
        TimeIsUp: there was no time for some of the trials.
    """
    judged_task(study.base)
    folder.start()
    failed: list[tuple[Cell, str]] = []
    limit = TimeLimit(study.launch.minutes)
    trials, results = selection_cells(study), {}
    if trials:
        name = "choosing learning rates"
        results = run_missing(name, trials, study.launch, limit, folder, display, failed)
        if left := len(trials) - len(results) - len(failed):
            raise TimeIsUp(f"the time is up, and {left} trials are left, then all runs; the same command goes on")
    learning_rates = choose_learning_rates(study, results)
    cells, before = final_cells(study, learning_rates), len(failed)
    found = run_missing("learning curves", cells, study.launch, limit, folder, display, failed)
    left = len(cells) - len(found) - (len(failed) - before)
    return Outcome(learning_rates, results | found, tuple(failed), left)


def run_missing(
    name: str,
    cells: list[C],
    config: LaunchConfig,
    limit: TimeLimit,
    folder: StudyFolder,
    display: Display,
    failed: list[tuple[C, str]],
    folders: Mapping[str, Path] | None = None,
) -> dict[str, dict[str, Any]]:
    """Results of the cells, by key; those without one yet are run in time, and what fails is added to ``failed``.

    Args:
        name: what the display calls this stage.
        cells: what there should be; each key once.
        config: where to run.
        limit: of the time.
        folder: where results are kept.
        display: told of every start and end.
        failed: gets each cell that fails with its error.
        folders: run folders of those cells that keep one, by key.
    """
    results = folder.read(cells)
    missing = [cell for cell in cells if cell.key not in results]
    for result in results.values():
        limit.took(result["seconds"]["total"])
    workers = config.workers or os.cpu_count() or 1
    display.stage(name, len(cells), len(results), workers)
    if not missing:
        return results
    for cell, result in launch(missing, config, display.started, limit, folders):
        folder.write(cell, result)
        if "error" in result:
            failed.append((cell, result["error"]))
        else:
            results[cell.key] = result
            limit.took(result["seconds"]["total"])
        display.ended(cell, result)
    return results


def _goes_on(held: str, ours: str, study: Study | MultiTaskStudy | Ablation) -> bool:
    """Whether a folder with the ``held`` study.yaml may be used for this one: a study may get other seeds."""
    if held == ours:
        return True
    try:
        before = from_yaml(type(study), held)
    except ValueError:
        return False
    if isinstance(study, Study) and isinstance(before, Study):
        return to_yaml(replace(before, seeds=study.seeds)) == ours
    return True
