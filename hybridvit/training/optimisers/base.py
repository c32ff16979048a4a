"""What all optimisers share: parameter groups, warm-up and decay of the learning rate, clipping."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal

from annotated_types import Interval
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hybridvit.config import Config, Fraction, NonNegativeFloat, PositiveFloat, Probability

NO_DECAY = ("prefix", "position", "embedding", "gate", "table", "row_distance", "column_distance")
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

    @abstractmethod
    def build(self, model: nn.Module) -> Optimizer:
        """The optimiser of a model's trained parameters.

        Raises:
            ValueError: layer-wise decay is asked of a model without a backbone.
        """

    @abstractmethod
    def method(self) -> str:
        """The optimiser and its own settings, for reports."""

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


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float = 1.0, apart: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with its ``weight_decay`` and ``lr_scale``.

    Weight matrices and kernels decay; biases, norms, position embeddings, prefix tokens and gates do not.
    With L layers in the backbone, layer i learns at layer_decay^(L - i) times the rate of the heads.

    Args:
        model: a backbone, or a module that holds one as ``backbone``.
        weight_decay: of the parameters that decay.
        layer_decay: factor for every layer further from the heads.
        apart: names of parameters that are not put into one group with others, and whose groups come last.

    Raises:
        ValueError: layer-wise decay is asked of a model without a backbone.
    """
    layers, count = ({}, 0) if layer_decay == 1 else _layer_of(model)
    groups: dict[tuple[bool, bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim >= 2 and name.rsplit(".", 1)[-1] not in NO_DECAY
        layer = layers.get(name, count)
        group = {"params": [], "weight_decay": weight_decay * decays, "lr_scale": layer_decay ** (count - layer)}
        if apart:
            group["muon"] = name in apart
        groups.setdefault((name in apart, not decays, layer), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def backbone_of(model: nn.Module, what: str) -> tuple[Any, str]:
    """The backbone in a model, and the prefix of its parameters' names."""
    backbone: Any = model if hasattr(model, "parameter_layers") else getattr(model, "backbone", None)
    if not hasattr(backbone, "parameter_layers"):
        raise ValueError(f"{what} needs a backbone, given {type(model).__name__}")
    return backbone, "" if backbone is model else "backbone."


def _under(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a dotted name is one of these, or belongs to one."""
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def _layer_of(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of every parameter of the backbone, from 0 at the images, and the number of layers."""
    backbone, path = backbone_of(model, "layer_decay")
    groups = backbone.parameter_layers()
    layers = {}
    for name, _ in backbone.named_parameters():
        layers[path + name] = next(index for index, prefixes in enumerate(groups) if _under(name, prefixes))
    return layers, len(groups)
