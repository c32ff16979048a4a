"""GradNorm: loss weights that bring the tasks to one pace of training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hybridvit.config import NonNegativeFloat, PositiveFloat
from hybridvit.hydra.balance.base import EPSILON, Balance, Losses, MethodConfig, WeightedBalance
from hybridvit.hydra.balance.trunk_gradients import stages
from hybridvit.hydra.hydranet import HydraNet

MIN_WEIGHT = 0.01  # a weight that reached 0 could not come back


class GradNormConfig(MethodConfig):
    """Weights that make the tasks train at one pace (Chen et al., arXiv 1711.02257, algorithm 1).

    Attributes:
        alpha: how strongly slow tasks are favoured; 0: equal gradient norms.
        lr: learning rate of the weights, by Adam.
    """

    kind: Literal["gradnorm"] = "gradnorm"
    alpha: NonNegativeFloat = 1.5
    lr: PositiveFloat = 0.025

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        return GradNormBalance(tasks, self)


class GradNormBalance(WeightedBalance):
    """Weights that bring each task's gradient to a norm that suits its pace (arXiv 1711.02257, algorithm 1).

    Norms are taken at the last stage of the trunk that holds a matrix. This needs a backward pass of each task down to
    that stage. Present tasks keep the sum of their weights.
    """

    def __init__(self, tasks: tuple[str, ...], config: GradNormConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learn("weight", 1.0)
        self.memory["first"] = torch.full((len(tasks),), torch.nan)

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        weights = self.memory["weight"]
        self.memory["first"] = torch.where(mask & self.memory["first"].isnan(), values, self.memory["first"])
        if int(mask.sum()) < 2:
            return torch.ones_like(weights)
        norms = self._norms(mask.tolist(), losses, net)
        remaining = (values / self.memory["first"].clamp(min=EPSILON)).where(mask, 0)
        pace = remaining / _mean(remaining, mask).clamp(min=EPSILON)
        target = _mean(weights * norms, mask) * pace**self.config.alpha
        self.adam("weight", (weights * norms - target).sign() * norms, mask, self.config.lr)

        moved = self.memory["weight"].clamp(min=MIN_WEIGHT)
        scale = weights.where(mask, 0).sum() / moved.where(mask, 0).sum()
        self.memory["weight"] = torch.where(mask, moved * scale, weights)
        return weights * mask.sum() / weights.where(mask, 0).sum()

    def _norms(self, present: list[bool], losses: Losses, net: HydraNet) -> Tensor:
        """Norm of every task's gradient in the last stage that holds a matrix, ``[t]``; 0 for absent tasks."""
        stage = next((g for g in reversed(stages(net.backbone).values()) if any(p.ndim > 1 for p in g)), None)
        if stage is None:
            raise ValueError("balance gradnorm has no effect: the trunk has no matrix to train")
        norms = []
        for name, is_present in zip(self.tasks, present, strict=True):
            loss = losses[name]
            gradients = torch.autograd.grad(loss, stage, retain_graph=True, allow_unused=True) if is_present else ()
            parts = [torch.linalg.vector_norm(g.float()) for g in gradients if g is not None]
            norms.append(torch.linalg.vector_norm(torch.stack(parts)) if parts else loss.new_zeros(()).float())
        return torch.stack(norms)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the present entries ``[t]``."""
    return x.where(mask, 0).sum() / mask.sum().clamp(min=1)
