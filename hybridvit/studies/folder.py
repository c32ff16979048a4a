"""A study on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybridvit.config import from_yaml, to_yaml
from hybridvit.studies.cells import Cell
from hybridvit.studies.study import LaunchConfig, StudyConfig
from hybridvit.training.checkpoint import write_text


class StudyFolder:
    """study.yaml, one JSON file for each finished run under cells/, and the report.

    A study may change between two calls: more seeds, other arms or sizes, another title. Its cells are named by what
    they ran, so what it shares with the old one is not run again.

    Args:
        path: the folder; made when the first file is written.
        study: what it holds.

    Raises:
        ValueError: the folder holds a study of another kind, or files that are no study.
    """

    def __init__(self, path: str | Path, study: StudyConfig) -> None:
        self.path = path = Path(path)
        self.yaml = to_yaml(replace(study, launch=LaunchConfig()))  # where it runs is no part of what it is
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, not a folder for a study")
        held = path / "study.yaml"
        if held.exists():
            try:
                from_yaml(type(study), held.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} already holds another study: choose another --out") from error
        elif path.is_dir() and any(path.iterdir()):
            raise ValueError(f"{path} is not empty and holds no study: choose another --out")

    def start(self) -> None:
        """Writes study.yaml."""
        write_text(self.path / "study.yaml", self.yaml)

    def run(self, cell: Cell) -> Path:
        """The run folder of a cell that keeps one."""
        return self.path / "runs" / cell.key

    def is_kept(self, cell: Cell) -> bool:
        """Whether the run folder of a cell is finished."""
        return (self.run(cell) / "result.json").is_file()

    def cell(self, cell: Cell) -> Path:
        """The file of a finished cell."""
        return self.path / "cells" / f"{cell.key}.json"

    def read(self, cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
        """Results of the cells that are finished, by key."""
        paths = {cell.key: self.cell(cell) for cell in cells}
        return {key: json.loads(path.read_text(encoding="utf-8")) for key, path in paths.items() if path.exists()}

    def write(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keeps a result, or, for a failed cell, its traceback beside where the result would be."""
        path = self.cell(cell)
        failure = path.with_suffix(".failed.txt")
        if "error" in result:
            write_text(failure, result["traceback"])
        else:
            write_text(path, json.dumps(result, indent=1))
            failure.unlink(missing_ok=True)
