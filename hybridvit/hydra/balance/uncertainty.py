"""Loss weights from learned task uncertainties."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hybridvit.config import PositiveFloat
from hybridvit.hydra.balance.base import Balance, Losses, MethodConfig, WeightedBalance
from hybridvit.hydra.hydranet import HydraNet


class UncertaintyConfig(MethodConfig):
    """Weights from learned task uncertainties (Kendall et al., arXiv 1705.07115, eq. 10).

    Attributes:
        lr: learning rate of the log-variances, by Adam.
    """

    kind: Literal["uncertainty"] = "uncertainty"
    lr: PositiveFloat = 0.01

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        return UncertaintyBalance(tasks, self)


class UncertaintyBalance(WeightedBalance):
    """Minimises Σ exp(−s)·L + s/2 over the net and the log-variances s (arXiv 1705.07115, eq. 10).

    The paper's factor ½ on regression losses only moves s by log 2.
    """

    def __init__(self, tasks: tuple[str, ...], config: UncertaintyConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learn("log_variance", 0.0)

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        weights = (-self.memory["log_variance"]).exp()
        self.adam("log_variance", 0.5 - weights * values, mask, self.config.lr)
        return torch.where(mask.sum() == 1, 1.0, weights)
