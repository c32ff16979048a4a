"""A run on disk: recipe.yaml, dataset.json, versions.json, metrics.jsonl, checkpoints/, result.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from hybridvit.training.checkpoint import write_text

PACKAGES = ("hybridvit", "torch", "torchvision", "accelerate", "torchmetrics", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def revision() -> str:
    """The git commit of this code, with "+changes" where the tree differs; "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device: torch.device) -> str:
    """The hardware in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"


class RunFolder:
    """Where one run keeps what it writes; every file is replaced in one step or only appended to.

    Args:
        path: the folder; made when the first file is written.
        recipe: the resolved recipe, as YAML.

    Raises:
        ValueError: the folder holds another recipe, or files that are no run.
    """

    def __init__(self, path: Path, recipe: str) -> None:
        self.path = path
        self.recipe = recipe
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, not a folder for a run")
        held = path / "recipe.yaml"
        if held.exists():
            if held.read_text(encoding="utf-8") != recipe:
                raise ValueError(f"{path} already holds a run of another recipe: choose another --out")
        elif path.is_dir() and any(path.iterdir()):
            raise ValueError(f"{path} is not empty and holds no run: choose another --out")

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, once the run is done."""
        path = self.path / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def start(self, dataset: dict[str, Any]) -> None:
        """Writes what is known before the first step."""
        write_text(self.path / "recipe.yaml", self.recipe)
        write_text(self.path / "dataset.json", json.dumps(dataset, indent=1))
        write_text(
            self.path / "versions.json",
            json.dumps({"versions": versions(), "revision": revision(), "command": sys.argv}, indent=1),
        )

    def rewind(self, step: int) -> None:
        """Drops the metrics of steps after this one, which will be taken again."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            lines = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        lines.append(line + "\n")
                except ValueError:  # the last line, cut short when the run was killed
                    break
            write_text(path, "".join(lines))

    def log(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def finish(self, result: dict[str, Any]) -> None:
        """Writes result.json, which marks the run as done."""
        write_text(self.path / "result.json", json.dumps(result, indent=1) + os.linesep)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
