"""What all optimisers share: parameter groups, warm-up and decay of the learning rate, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from annotated_types import Interval
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hybridvit.config import Config, Fraction, NonNegativeFloat, PositiveFloat, Probability
from hybridvit.training.optimisers.parameter_groups import parameter_groups

# What is left of the way from the highest learning rate to the last, by the share of the decay that is done.
DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
}


class OptimiserConfig(Config):
    """Base of the optimisers' configurations.

    Attributes:
        lr: highest learning rate, reached at the end of the warm-up.
        weight_decay: of weight matrices and kernels; nothing else decays. A step takes lr · weight_decay of them off.
        schedule: how the learning rate falls after the warm-up; "constant": it does not.
        warmup: share of the steps over which the learning rate rises linearly.
        final_lr: learning rate of the last step, as a share of lr; "constant" has none.
        clip_norm: largest norm of the whole gradient; None: not clipped.
        layer_decay: factor on the learning rate for every layer further from the head, for fine-tuning
            pretrained weights (BEiT, arXiv 2106.08254, §3.1); 1: all layers alike.
    """

    kind: str
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Fraction = 0.1
    final_lr: Probability = 0.01
    clip_norm: PositiveFloat | None = 1.0
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        if self.schedule == "constant" and self.final_lr != OptimiserConfig.final_lr:
            raise ValueError(
                f"final_lr {self.final_lr} has no effect with schedule 'constant': choose 'linear' or 'cosine'"
            )

    def build(self, model: nn.Module) -> Optimizer:
        """The optimiser of a model's trained parameters.

        Raises:
            ValueError: layer-wise decay is asked of a model without a backbone.
        """
        raise NotImplementedError

    def method(self) -> str:
        """The optimiser and its own settings, for reports."""
        raise NotImplementedError

    def describe(self) -> str:
        """The optimiser and its schedule, without the learning rate, for reports."""
        decay = "no decay" if self.schedule == "constant" else f"{self.schedule} decay"
        clip = "" if self.clip_norm is None else f", gradient norm at most {self.clip_norm:g}"
        return (
            f"{self.method()}, weight decay {self.weight_decay:g}, warm-up over {self.warmup:.0%} of the steps, "
            f"{decay}{clip}"
        )

    def groups(self, model: nn.Module, apart: Collection[str] = ()) -> list[dict[str, Any]]:
        """The model's parameter groups, each at its highest learning rate; see :func:`parameter_groups`."""
        groups = parameter_groups(model, self.weight_decay, self.layer_decay, apart)
        for group in groups:
            group["lr"] = self.lr * group["lr_scale"]
        return groups

    def lr_share(self, step: int, steps: int) -> float:
        """Learning rate at a step, counted from 0, as a share of the highest."""
        warmup = self.warmup * steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(steps - 1 - warmup, 1), 1.0)
        return self.final_lr + (1 - self.final_lr) * DECAYS[self.schedule](progress)

    def build_schedule(self, optimiser: Optimizer, steps: int, done: int = 0) -> LambdaLR:
        """The schedule of :meth:`lr_share`, stepped once for each update; ``done`` updates were made before."""
        for group in optimiser.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return LambdaLR(optimiser, lambda step: self.lr_share(step, steps), last_epoch=done - 1)
