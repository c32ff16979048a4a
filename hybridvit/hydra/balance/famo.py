"""FAMO: loss weights from how far each loss fell in the last update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from hybridvit.config import NonNegativeFloat, PositiveFloat
from hybridvit.hydra.balance.base import EPSILON, Balance, Losses, MethodConfig, WeightedBalance, masked_softmax
from hybridvit.hydra.hydranet import HydraNet


class FAMOConfig(MethodConfig):
    """All losses fall at one rate, judged by the losses alone (Liu et al., arXiv 2306.03792, algorithm 1).

    Takes one more forward pass for every update.

    Attributes:
        lr: learning rate of the weights' logits, by Adam.
        decay: pull of the logits towards 0, the paper's γ.
    """

    kind: Literal["famo"] = "famo"
    lr: PositiveFloat = 0.025
    decay: NonNegativeFloat = 1e-3

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        return FAMOBalance(tasks, self)


class FAMOBalance(WeightedBalance):
    """Weights from how far each loss fell in the last update (arXiv 2306.03792, algorithm 1).

    As in the paper and the authors' code, a second forward pass over the same batch judges an update. The next batch's
    losses would cost no forward pass, but they differ more by their images than by the update.
    """

    needs_second_forward = True

    def __init__(self, tasks: tuple[str, ...], config: FAMOConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learn("logit", 0.0)
        self._before: tuple[Tensor, Tensor] | None = None

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        self._before = values, mask
        share = masked_softmax(self.memory["logit"], mask) / values.clamp(min=EPSILON)
        return share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)

    def after_step(self, losses: Callable[[], Losses]) -> None:
        assert self._before is not None, "after_step follows backward"
        before, mask = self._before
        updated = losses()
        after = torch.stack([updated[name] for name in self.tasks]).detach().float()
        fall = (before.clamp(min=EPSILON).log() - after.clamp(min=EPSILON).log()).where(mask, 0)
        share = masked_softmax(self.memory["logit"], mask)
        gradient = share * (fall - (share * fall).sum())
        learns = mask & (mask.sum() > 1) & gradient.isfinite().all()
        self.adam("logit", gradient, learns, self.config.lr, self.config.decay)
        self._before = None
