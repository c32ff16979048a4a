"""What happens over a training: its losses, scores, seconds and energy, as checkpoints and result files keep them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass
class History:
    """What happened over a run.

    Attributes:
        steps: logged steps.
        loss: mean training loss since the last of them.
        losses: task -> its own mean loss over the same steps, None where none of them had a label for it.
        validation: for every evaluation on the validation split, its step and the metrics by task and name.
        conflicts: at five steps, the cosines between the tasks' gradients in every stage of the trunk.
        probes: probe name -> readings, at step 0 and at every logged step.
        best_step: step of the best validation metrics, -1 without a validation split.
        best: those metrics, by task and name.
        seconds: time from the first step to the last, validation included.
        joules: what the GPU used in that time, whatever else ran on it; None where it does not tell.
        compile_seconds: time spent compiling before that.
    """

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    losses: dict[str, list[float | None]] = field(default_factory=dict)
    validation: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    probes: dict[str, list[Any]] = field(default_factory=dict)
    best_step: int = -1
    best: dict[str, dict[str, float]] | None = None
    seconds: float = 0.0
    joules: float | None = None
    compile_seconds: float = 0.0


class Progress(NamedTuple):
    """How far a training is after a step.

    Attributes:
        step: number of finished steps.
        loss: mean training loss as last logged; None before the first logged step.
        validation: mean over the tasks of their first metric, as last evaluated; None before the first evaluation.
    """

    step: int
    loss: float | None = None
    validation: float | None = None


OnStep = Callable[[Progress], None]


class LossSums:
    """Running sums of the total loss and of every task's own, on the device so that no step waits for them."""

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.tasks = tasks
        self.steps = 0
        self.total = torch.zeros((), device=device)
        self.own, self.count = torch.zeros(2, len(tasks), device=device)
        self.bad = torch.full((len(tasks),), -1, device=device)  # first step whose loss was not finite

    def add(self, step: int, total: Tensor, own: Tensor, present: Tensor) -> None:
        """Takes in a step: the total loss, and ``[t]`` each task's own, 0 where it has no label, and if it has one."""
        self.steps += 1
        self.total += total
        self.own += own
        self.count += present
        self.bad = torch.where((self.bad < 0) & ~torch.isfinite(own), step, self.bad)

    def first_bad(self) -> dict[str, int]:
        """Task -> the first step, counted from 0, at which its loss was not a finite number."""
        return {name: step for name, step in zip(self.tasks, self.bad.tolist(), strict=True) if step >= 0}

    def read(self) -> tuple[float, dict[str, float | None]]:
        """The mean total loss, and each task's mean over the steps that had a label for it; starts anew."""
        total = float(self.total) / self.steps
        sums, counts = self.own.tolist(), self.count.tolist()
        own = {name: s / c if c else None for name, s, c in zip(self.tasks, sums, counts, strict=True)}
        self.steps = 0
        for values in (self.total, self.own, self.count):
            values.zero_()
        return total, own


class CostMeter:
    """Adds what was used since it was made to a history, which may hold what was used before."""

    def __init__(self, history: History, device: torch.device) -> None:
        self.history, self.device = history, device
        self.seconds, self.joules = history.seconds, history.joules
        self.first = joules(device)
        self.began = time.perf_counter()

    def read(self) -> None:
        """Brings the history up to now."""
        self.history.seconds = self.seconds + time.perf_counter() - self.began
        now = joules(self.device)
        if self.first is not None and now is not None:
            self.history.joules = (self.joules or 0.0) + now - self.first


def joules(device: torch.device) -> float | None:
    """Energy that a GPU has used since its driver was loaded, whatever ran on it; None where nothing tells it.

    NVIDIA's NVML counts it, on Volta and newer; read through the package ``nvidia-ml-py``.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1000
    except pynvml.NVMLError:
        return None
