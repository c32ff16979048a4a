"""Balancing methods that weigh the losses, and learn the weights while they train."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hybridvit.hydra.balance.base import EPSILON, Losses, WeightedBalance
from hybridvit.hydra.balance.config import DWAConfig, FAMOConfig, GradNormConfig, UncertaintyConfig
from hybridvit.hydra.balance.trunk_gradients import stages
from hybridvit.hydra.hydranet import HydraNet


class UncertaintyBalance(WeightedBalance):
    """Minimises Σ exp(−s)·L + s/2 over the net and the log-variances s (arXiv 1705.07115, eq. 10).

    The paper's factor ½ on regression losses only moves s by log 2.

    Args:
        tasks: names of the tasks.
        config: learning rate.
    """

    def __init__(self, tasks: Sequence[str], config: UncertaintyConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learns("log_variance", 0.0)

    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        weights = (-self.memory["log_variance"]).exp()
        self.adam("log_variance", 0.5 - weights * values, there, self.config.lr)
        return torch.where(there.sum() == 1, 1.0, weights)


class DWABalance(WeightedBalance):
    """Weights K·softmax(r / temperature) of K present tasks; r is how much of the loss was left (1803.10704, eq. 7).

    The paper compares the mean losses of the last two epochs; here it is the last two windows of updates that had
    a label of the task. Until a task has two, its r is 1.

    Args:
        tasks: names of the tasks.
        config: temperature and window.
    """

    def __init__(self, tasks: Sequence[str], config: DWAConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.memory |= {name: torch.zeros(len(tasks)) for name in ("sum", "count")}
        self.memory |= {name: torch.full((len(tasks),), torch.nan) for name in ("last", "last_but_one")}

    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        old = self.memory
        left = (old["last"] / old["last_but_one"].clamp(min=EPSILON)).nan_to_num(1.0)
        weights = there.sum() * _softmax(left / self.config.temperature, there)

        total, count = old["sum"] + values.where(there, 0), old["count"] + there
        full = count >= self.config.window
        self.memory = {
            "sum": total.where(~full, 0),
            "count": count.where(~full, 0),
            "last": torch.where(full, total / count, old["last"]),
            "last_but_one": torch.where(full, old["last"], old["last_but_one"]),
        }
        return weights


class GradNormBalance(WeightedBalance):
    """Weights that bring each task's gradient to a norm that suits its pace (arXiv 1711.02257, algorithm 1).

    Norms are taken at the last stage of the trunk that holds a matrix, which needs a backward pass of each task
    down to there. Present tasks keep the sum of their weights.

    Args:
        tasks: names of the tasks.
        config: strength and learning rate.
    """

    LEAST = 0.01  # a weight that reached 0 could not come back

    def __init__(self, tasks: Sequence[str], config: GradNormConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learns("weight", 1.0)
        self.memory["first"] = torch.full((len(tasks),), torch.nan)

    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        weights = self.memory["weight"]
        self.memory["first"] = torch.where(there & self.memory["first"].isnan(), values, self.memory["first"])
        if int(there.sum()) < 2:
            return torch.ones_like(weights)
        norms = self._norms(there.tolist(), losses, net)
        left = (values / self.memory["first"].clamp(min=EPSILON)).where(there, 0)
        pace = left / _mean(left, there).clamp(min=EPSILON)
        target = _mean(weights * norms, there) * pace**self.config.alpha
        self.adam("weight", (weights * norms - target).sign() * norms, there, self.config.lr)

        moved = self.memory["weight"].clamp(min=self.LEAST)
        scale = weights.where(there, 0).sum() / moved.where(there, 0).sum()
        self.memory["weight"] = torch.where(there, moved * scale, weights)
        count = there.sum()
        return weights * count / weights.where(there, 0).sum()

    def _norms(self, there: Sequence[bool], losses: Losses, net: HydraNet) -> Tensor:
        """Norm of every task's gradient, ``[t]``; 0 for absent ones."""
        last = _last_matrices(net)
        norms = []
        for name, is_there in zip(self.tasks, there, strict=True):
            found = torch.autograd.grad(losses[name], last, retain_graph=True, allow_unused=True) if is_there else ()
            parts = [torch.linalg.vector_norm(g.float()) for g in found if g is not None]
            norms.append(torch.linalg.vector_norm(torch.stack(parts)) if parts else losses[name].new_zeros(()).float())
        return torch.stack(norms)


class FAMOBalance(WeightedBalance):
    """Weights from how far each loss fell in the last update (arXiv 2306.03792, algorithm 1).

    As in the paper and the authors' code, an update is judged by a second look at the same batch: the next batch's
    losses would cost no forward pass, but differ more by their images than by the update.

    Args:
        tasks: names of the tasks.
        config: learning rate and decay of the logits.
    """

    needs_second_forward = True

    def __init__(self, tasks: Sequence[str], config: FAMOConfig) -> None:
        super().__init__(tasks)
        self.config = config
        self.learns("logit", 0.0)
        self._before: tuple[Tensor, Tensor] | None = None

    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        self._before = values, there
        share = _softmax(self.memory["logit"], there) / values.clamp(min=EPSILON)
        return share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)

    def after_step(self, losses: Callable[[], Losses]) -> None:
        assert self._before is not None, "after_step follows backward"
        before, there = self._before
        found = losses()
        after = torch.stack([found[name] for name in self.tasks]).detach().float()
        fall = (before.clamp(min=EPSILON).log() - after.clamp(min=EPSILON).log()).where(there, 0)
        share = _softmax(self.memory["logit"], there)
        gradient = share * (fall - (share * fall).sum())
        learns = there & (there.sum() > 1) & gradient.isfinite().all()
        self.adam("logit", gradient, learns, self.config.lr, self.config.decay)
        self._before = None


def _last_matrices(net: HydraNet) -> list[nn.Parameter]:
    """The parameters of the last stage of the trunk that holds a matrix.

    Raises:
        ValueError: no stage does.
    """
    for group in reversed(stages(net.backbone).values()):
        if any(parameter.ndim > 1 for parameter in group):
            return group
    raise ValueError("balance gradnorm has no effect: the trunk has no matrix to train")


def _softmax(x: Tensor, there: Tensor) -> Tensor:
    """Softmax over the present entries ``[t]``; 0 for the others."""
    return x.masked_fill(~there, -torch.inf).softmax(dim=0).nan_to_num(0.0)


def _mean(x: Tensor, there: Tensor) -> Tensor:
    """Mean over the present entries ``[t]``."""
    return x.where(there, 0).sum() / there.sum().clamp(min=1)
