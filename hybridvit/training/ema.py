"""An exponential moving average of the weights, which a GPU never has to wait for."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A running average of a model's parameters and floating-point buffers; whole numbers are copied.

    The decay of update t, counted from 0, is min(decay, (1 + t) / (10 + t)), so that the start is forgotten early; the
    first update is a copy. torch's AveragedModel counts on the device, and so waits for it several times an update.

    Args:
        model: what is averaged; it is copied, device and all.
        decay: in (0, 1).

    Attributes:
        module: the model with averaged weights.
        updates: how often it was updated; a run that resumes sets it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model).requires_grad_(False)
        self._averages = _tensors(self.module)  # walking through a net takes half a millisecond
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the weights of the model as they are now."""
        t = self.updates
        keep = min(self.decay, (1 + t) / (10 + t)) if t else 0.0
        floats: tuple[list[Tensor], list[Tensor]] = [], []
        for average, value in zip(self._averages, _tensors(model), strict=True):
            if not average.is_floating_point():  # a count: its average, rounded down, would never arrive
                average.copy_(value)
            else:
                floats[0].append(average)
                floats[1].append(value)
        torch._foreach_lerp_(*floats, 1 - keep)
        self.updates += 1


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
