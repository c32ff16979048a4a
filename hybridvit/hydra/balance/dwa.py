"""Dynamic weight average: loss weights from how fast each loss falls."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hybridvit.config import PositiveFloat, PositiveInt
from hybridvit.hydra.balance.base import EPSILON, Balance, Losses, MethodConfig, WeightedBalance, masked_softmax
from hybridvit.hydra.hydranet import HydraNet


class DWAConfig(MethodConfig):
    """Dynamic weight average: more weight where the loss falls slowly (Liu et al., arXiv 1803.10704, eq. 7).

    Attributes:
        temperature: how even the weights are.
        window: updates whose mean loss replaces the paper's epoch; only updates with a label of the task count.
    """

    kind: Literal["dwa"] = "dwa"
    temperature: PositiveFloat = 2.0
    window: PositiveInt = 100

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        return DWABalance(tasks, self)


class DWABalance(WeightedBalance):
    """Weights K·softmax(r / temperature) of K present tasks; r is the share of the loss that remains (eq. 7).

    The paper compares the mean losses of the last two epochs. Here these are the last two windows of updates that had
    a label of the task. Until a task has two windows, its r is 1.
    """

    def __init__(self, tasks: tuple[str, ...], config: DWAConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.memory |= {name: torch.zeros(len(tasks)) for name in ("sum", "count")}
        self.memory |= {name: torch.full((len(tasks),), torch.nan) for name in ("last", "last_but_one")}

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        old = self.memory
        remaining = (old["last"] / old["last_but_one"].clamp(min=EPSILON)).nan_to_num(1.0)
        weights = mask.sum() * masked_softmax(remaining / self.config.temperature, mask)

        total, count = old["sum"] + values.where(mask, 0), old["count"] + mask
        full = count >= self.config.window
        self.memory = {
            "sum": total.where(~full, 0),
            "count": count.where(~full, 0),
            "last": torch.where(full, total / count, old["last"]),
            "last_but_one": torch.where(full, old["last"], old["last_but_one"]),
        }
        return weights
