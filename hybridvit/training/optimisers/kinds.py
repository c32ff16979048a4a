"""The optimisers that a recipe can choose from: torch's own, and Muon."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator
from torch import nn
from torch.optim import SGD, AdamW

from hybridvit.config import Fraction
from hybridvit.training.optimisers.base import OptimiserConfig
from hybridvit.training.optimisers.muon import MuonConfig


class AdamWConfig(OptimiserConfig):
    """AdamW (arXiv 1711.05101), with one fused update for all parameters.

    Attributes:
        beta1: decay of the gradient's running mean.
        beta2: decay of the squared gradient's running mean; the other fields as in :class:`OptimiserConfig`.
    """

    kind: Literal["adamw"] = "adamw"
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999

    def build(self, model: nn.Module) -> AdamW:
        return AdamW(self.groups(model), lr=self.lr, betas=(self.beta1, self.beta2), fused=True)

    def method(self) -> str:
        return f"AdamW, betas {self.beta1:g} and {self.beta2:g}"


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


OptimConfig = Annotated[AdamWConfig | MuonConfig | SGDConfig, Discriminator("kind")]
