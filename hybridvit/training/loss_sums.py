"""Losses since the last logged step, summed on the device so that no step waits for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LossSums:
    """Running sums of the total loss and of every task's own.

    Args:
        tasks: names of the tasks.
        device: where the losses are.
    """

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
