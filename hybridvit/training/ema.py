"""An exponential moving average of the weights, kept by torch's AveragedModel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A running average of parameters and buffers.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the start is forgotten early.
    """

    def update(averages: Tensors, values: Tensors, updates: Tensor | int) -> None:
        t = int(updates)
        pairs = list(zip(averages, values, strict=True))
        for average, value in pairs:
            if not average.is_floating_point():  # a count is copied: its average, rounded down, would never arrive
                average.copy_(value)
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        if floats:
            keep = get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))
            keep([pair[0] for pair in floats], [pair[1] for pair in floats], updates)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
