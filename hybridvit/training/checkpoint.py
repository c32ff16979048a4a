"""Checkpoints: safetensors only, written whole or not at all, checked by their SHA-256 when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, TRAINING, STATE = "weights.safetensors", "training.safetensors", "state.json"
BEST = "best"


class CorruptCheckpoint(ValueError):
    """A checkpoint that is not what was written."""


def write_text(path: Path, text: str) -> None:
    """Replaces a file's content in one step, so that a reader sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save_checkpoint(
    folder: Path, state: dict[str, Any], weights: dict[str, Tensor], training: dict[str, Tensor] | None = None
) -> None:
    """Writes a checkpoint folder, replacing one of the same name.

    Args:
        folder: where, as in RUN/checkpoints/step_0000100.
        state: what to remember besides tensors; JSON values.
        weights: the model as it should be used.
        training: what is needed to resume; None where nothing resumes from here.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    digests = {}
    for name, tensors in ((WEIGHTS, weights), (TRAINING, training)):
        if tensors is not None:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary / name)
            digests[name] = _digest(temporary / name)
    digests[STATE] = _state_digest(state)
    write_text(temporary / STATE, json.dumps({**state, "sha256": digests}, indent=1))
    for path in temporary.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old)
    else:
        temporary.rename(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        CorruptCheckpoint: it is missing or no JSON.
    """
    replaced = folder.with_name(f".{folder.name}.old")
    if replaced.is_dir() and not folder.exists():  # the process was killed between the two renames of a save
        replaced.rename(folder)
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if _state_digest({k: v for k, v in state.items() if k != "sha256"}) != state["sha256"][STATE]:
            raise ValueError("its SHA-256 is not the one written with it")
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise CorruptCheckpoint(f"checkpoint {folder} is corrupt: {STATE}: {error}") from error
    return dict(state)


def read_tensors(folder: Path, name: str = WEIGHTS) -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint, on the CPU; nothing is unpickled.

    Raises:
        CorruptCheckpoint: the file is missing, cut short or altered.
    """
    path = folder / name
    try:
        expected = read_state(folder)["sha256"][name]
        if _digest(path) != expected:
            raise CorruptCheckpoint(f"checkpoint {path} is corrupt: its SHA-256 is not the one written with it")
        return dict(load_file(path))
    except (OSError, KeyError, SafetensorError) as error:
        raise CorruptCheckpoint(f"checkpoint {path} is corrupt: {error}") from error


def step_folders(checkpoints: Path) -> list[Path]:
    """The checkpoints of a run that training can resume from, oldest first."""
    return sorted(path for path in checkpoints.glob("step_*") if path.is_dir())


def usable(checkpoints: Path) -> list[Path]:
    """The checkpoints that a model can be read from: those of steps, oldest first, then the best on validation data."""
    best = checkpoints / BEST
    return step_folders(checkpoints) + [best] * best.is_dir()


def remove(folder: Path) -> None:
    """Deletes a checkpoint; what is left after an interruption is no longer taken for one."""
    doomed = folder.with_name(f".{folder.name}.old")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def others(folder: Path) -> list[Path]:
    """The other checkpoints beside this one that read back whole, newest first."""
    whole = []
    for candidate in [*reversed(step_folders(folder.parent)), folder.parent / BEST]:
        if candidate != folder and candidate.is_dir():
            try:
                read_tensors(candidate)
            except CorruptCheckpoint:
                continue
            whole.append(candidate)
    return whole


def read_or_offer(folder: Path, name: str, advice: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint; where it is corrupt, the error names the newest whole one beside it.

    Raises:
        CorruptCheckpoint: with the name of another checkpoint, and the advice.
    """
    try:
        return read_tensors(folder, name)
    except CorruptCheckpoint as error:
        whole = others(folder)
        offer = f"{whole[0].name} is whole: {advice}" if whole else "no other checkpoint is whole"
        raise CorruptCheckpoint(f"{error}; {offer}") from error


def load_state(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Loads a state dict that must fit exactly.

    Raises:
        ValueError: naming what is missing, unexpected or of another shape.
    """
    own = model.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    shapes = sorted(
        f"{k} {list(tensors[k].shape)} instead of {list(own[k].shape)}"
        for k in own.keys() & tensors.keys()
        if own[k].shape != tensors[k].shape
    )
    faults = [
        f"{what}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("other shape", shapes))
        if names
    ]
    if faults:
        raise ValueError(f"{source} does not fit this model: {'; '.join(faults)}")
    model.load_state_dict(tensors)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors, ``optimiser.PARAMETER.NAME``."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what :func:`optimiser_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def digest_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _state_digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
