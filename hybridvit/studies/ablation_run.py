"""Conducts an ablation: runs what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hybridvit.recipe import Ablation
from hybridvit.studies.ablation_grid import AblationCell, ablation_cells
from hybridvit.studies.progress import Display
from hybridvit.studies.run import StudyFolder, run_missing


@dataclass(frozen=True)
class AblationOutcome:
    """A finished ablation.

    Attributes:
        results: cell key -> result.
        failed: cells that failed, with their errors.
    """

    results: dict[str, dict[str, Any]]
    failed: tuple[tuple[AblationCell, str], ...]


def conduct_ablation(study: Ablation, folder: StudyFolder, display: Display) -> AblationOutcome:
    """Runs what has no result yet; a finished cell is never run again, whatever else in the study has changed."""
    folder.start()
    failed: list[tuple[AblationCell, str]] = []
    results = run_missing("ablation", ablation_cells(study), study.launch, folder, display, failed)
    return AblationOutcome(results, tuple(failed))
