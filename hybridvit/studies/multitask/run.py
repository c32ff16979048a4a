"""Conducts a comparison of tasks: runs what is missing, and keeps the first joint runs whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hybridvit.recipe import MultiTaskStudy
from hybridvit.studies.conduct import StudyFolder, run_missing
from hybridvit.studies.multitask.cells import ALONE, TaskCell, distinct, task_cells
from hybridvit.studies.progress import Display
from hybridvit.studies.time_limit import TimeLimit


@dataclass(frozen=True)
class TaskOutcome:
    """A comparison as far as it went.

    Attributes:
        results: cell key -> result.
        failed: cells that failed, with their errors.
        left: number of cells that there was no time for.
    """

    results: dict[str, dict[str, Any]]
    failed: tuple[tuple[TaskCell, str], ...]
    left: int = 0


def conduct_tasks(study: MultiTaskStudy, folder: StudyFolder, display: Display) -> TaskOutcome:
    """Runs what has no result yet; a finished cell is never run again, whatever else in the study has changed.

    The joint runs of the first seed keep their run folder, for predictions to be drawn from.

    Raises:
        ValueError: a balance has the name that the single tasks go by.
    """
    if ALONE in study.balances:
        raise ValueError(f"a balance cannot be called {ALONE!r}, as the report calls the single tasks")
    folder.start()
    failed: list[tuple[TaskCell, str]] = []
    cells = distinct(task_cells(study))
    kept = {cell.key: folder.run(cell) for cell in cells if cell.seed == 0 and cell.task is None}
    limit = TimeLimit(study.launch.minutes)
    results = run_missing("tasks together and alone", cells, study.launch, limit, folder, display, failed, kept)
    return TaskOutcome(results, tuple(failed), len(cells) - len(results) - len(failed))
