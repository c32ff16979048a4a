"""AdamW."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.optim import AdamW

from hybridvit.config import Fraction
from hybridvit.training.optimisers.base import OptimiserConfig


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
