"""The start values shared by all transformer layers."""

from __future__ import annotations

from torch import nn


def linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """A linear layer started as in the ViT authors' code: Xavier uniform weights, zero bias.

    The scale follows the width. The fixed standard deviation of 0.02 of DeiT and timm suits 384 to
    768 wide models; in the narrow ones of small data it leaves a plain ViT blind to position for
    thousands of steps (measured; see LOG.md).
    """
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
