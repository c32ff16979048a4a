"""Exports a run: what evaluation and prediction need, without the state of the training."""

from __future__ import annotations

import shutil
from pathlib import Path

from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.stored_heads import HEADS
from hybridvit.training.checkpoint import TRAINING

ABOUT = ("recipe.yaml", "dataset.json", "result.json")


def export(trained: LoadedRun, out: Path) -> int:
    """Copies a run to a folder that evaluate, predict, diagnose and finetune-head read like the run.

    The copy has one checkpoint's weights, the heads trained later, and the files that describe the run. It has no
    optimiser state, no other checkpoints and no logs.

    Args:
        trained: the run, and which checkpoint.
        out: a folder that does not exist yet, or is empty.

    Returns:
        The number of bytes written.

    Raises:
        ValueError: the folder holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    for name in ABOUT:
        if (trained.path / name).is_file():
            shutil.copy2(trained.path / name, out / name)
    without = shutil.ignore_patterns(TRAINING, ".*")
    kept = trained.checkpoint.relative_to(trained.path)
    shutil.copytree(trained.checkpoint, out / kept, ignore=without)
    if (trained.path / HEADS).is_dir():
        shutil.copytree(trained.path / HEADS, out / HEADS, ignore=without)
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
