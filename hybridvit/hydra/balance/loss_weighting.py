"""Methods that learn the weights of the losses: uncertainty, dynamic weight average, GradNorm and FAMO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from hybridvit.config import NonNegativeFloat, PositiveFloat, PositiveInt
from hybridvit.hydra.balance.base import EPSILON, Balance, Losses, MethodConfig, WeightedBalance, masked_softmax
from hybridvit.hydra.balance.trunk_gradients import stages
from hybridvit.hydra.hydranet import HydraNet

MIN_WEIGHT = 0.01  # a weight that reached 0 could not come back


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

    learned: Mapping[str, float] = {"log_variance": 0.0}

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        weights = (-self.memory["log_variance"]).exp()
        self.adam("log_variance", 0.5 - weights * values, mask, self.config.lr)
        return torch.where(mask.sum() == 1, 1.0, weights)


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

    remembered: Mapping[str, float] = {"sum": 0.0, "count": 0.0, "last": torch.nan, "last_but_one": torch.nan}

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

    remembered: Mapping[str, float] = {"first": torch.nan}
    learned: Mapping[str, float] = {"weight": 1.0}

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
    learned: Mapping[str, float] = {"logit": 0.0}
    _before: tuple[Tensor, Tensor] | None = None

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


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the present entries ``[t]``."""
    return x.where(mask, 0).sum() / mask.sum().clamp(min=1)
