"""Stochastic gradient descent."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn
from torch.optim import SGD

from hybridvit.config import Fraction
from hybridvit.training.optimisers.base import OptimiserConfig


class SGDConfig(OptimiserConfig):
    """SGD with Nesterov momentum, with one fused update for all parameters.

    Attributes:
        weight_decay: added to the gradient of weight matrices and kernels, times the weights.
        momentum: decay of the gradients' running sum; the other fields as in :class:`OptimiserConfig`.
    """

    renamed: ClassVar[dict[str, str]] = {"beta1": "momentum"}

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9

    def build(self, model: nn.Module) -> SGD:
        return SGD(self.groups(model), lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0, fused=True)

    def method(self) -> str:
        return f"SGD with Nesterov momentum {self.momentum:g}"
