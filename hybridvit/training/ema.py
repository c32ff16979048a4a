"""An exponential moving average of the weights, kept by torch's AveragedModel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A running average of parameters and buffers.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the start is forgotten early.
    """

    @torch.no_grad()
    def update(averages: Tensors, values: Tensors, updates: Tensor | int) -> None:
        t = int(updates)
        weight = 1 - min(decay, (1 + t) / (10 + t))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
