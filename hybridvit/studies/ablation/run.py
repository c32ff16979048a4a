"""Conducts an ablation: runs what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hybridvit.recipe import Ablation
from hybridvit.studies.ablation.cells import AblationCell, ablation_cells
from hybridvit.studies.conduct import StudyFolder, run_missing
from hybridvit.studies.progress import Display
from hybridvit.studies.time_limit import TimeLimit


@dataclass(frozen=True)
class AblationOutcome:
    """An ablation as far as it went.

    Attributes:
        results: cell key -> result.
        failed: cells that failed, with their errors.
        left: number of cells that there was no time for.
    """

    results: dict[str, dict[str, Any]]
    failed: tuple[tuple[AblationCell, str], ...]
    left: int = 0


def conduct_ablation(study: Ablation, folder: StudyFolder, display: Display) -> AblationOutcome:
    """Runs what has no result yet; a finished cell is never run again, whatever else in the study has changed."""
    folder.start()
    failed: list[tuple[AblationCell, str]] = []
    cells, limit = ablation_cells(study), TimeLimit(study.launch.minutes)
    results = run_missing("ablation", cells, study.launch, limit, folder, display, failed)
    return AblationOutcome(results, tuple(failed), len(cells) - len(results) - len(failed))
