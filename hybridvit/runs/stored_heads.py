"""Heads that were fine-tuned, added or removed after a run, as its folder keeps them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hybridvit.config import from_yaml
from hybridvit.recipe import HeadFinetuneConfig
from hybridvit.runs.dataset_info import DatasetInfo, columns_from_json
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training import checkpoint
from hybridvit.training.checkpoint import write_text

HEADS, REMOVED = "heads", "removed"


@dataclass(frozen=True)
class StoredHead:
    """A head in ``RUN/heads/NAME``.

    Attributes:
        path: the folder.
        removed: whether the head was taken off.
    """

    path: Path
    removed: bool

    @property
    def name(self) -> str:
        """Of the head."""
        return self.path.name

    @property
    def config(self) -> TaskConfig:
        """What it is."""
        return from_yaml(HeadFinetuneConfig, (self.path / "recipe.yaml").read_text(encoding="utf-8")).head

    @property
    def about(self) -> dict[str, Any]:
        """The trunk and the column that it was trained on."""
        about: dict[str, Any] = json.loads((self.path / "dataset.json").read_text(encoding="utf-8"))
        return about

    def data(self, data: DatasetInfo) -> DatasetInfo:
        """The run's data with the head's own column."""
        return data.with_columns(*columns_from_json(self.about))

    def weights(self) -> dict[str, Tensor]:
        """The head's state dict.

        Raises:
            CorruptCheckpoint: what was written does not read back.
        """
        tensors = checkpoint.read_tensors(checkpoint.usable(self.path / "checkpoints")[-1])
        return {name.removeprefix(f"heads.{self.name}."): value for name, value in tensors.items()}


def stored_heads(run: Path) -> list[StoredHead]:
    """The heads of a run that changed after its training; one whose fine-tuning is not finished is left out."""
    heads = []
    for path in sorted((run / HEADS).glob("*")):
        if path.name.startswith("."):
            continue
        if (path / REMOVED).exists():
            heads.append(StoredHead(path, True))
        elif (path / "result.json").exists():
            heads.append(StoredHead(path, False))
    return heads


def remove_head(run: Path, name: str, heads: Sequence[str]) -> None:
    """Takes a head off a run; nothing is deleted, and fine-tuning it again puts it back.

    Raises:
        ValueError: it is the last one.
    """
    if len(heads) == 1:
        raise ValueError(f"{name} is the only head of {run}")
    write_text(run / HEADS / name / REMOVED, "")


def make_room(folder: Path) -> None:
    """Moves what a folder holds aside, so that a head can be fine-tuned anew; the old one is kept."""
    if not folder.exists():
        return
    number = 1
    while (old := folder.with_name(f".{folder.name}.{number}")).exists():
        number += 1
    shutil.move(folder, old)
