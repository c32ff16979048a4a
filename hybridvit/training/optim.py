"""Optimiser, parameter groups and learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and cosine decay.

    Attributes:
        lr: highest learning rate, reached at the end of the warm-up.
        weight_decay: decoupled decay of weight matrices and kernels; nothing else decays.
        beta1: decay of the gradient's running mean.
        beta2: decay of the squared gradient's running mean.
        warmup: share of the steps over which the learning rate rises linearly.
        final_lr: learning rate of the last step, as a share of lr.
        clip_norm: largest norm of the whole gradient; None: not clipped.
        layer_decay: factor on the learning rate for every layer further from the head, for fine-tuning
            pretrained weights (BEiT, arXiv 2106.08254, §3.1); 1: all layers alike.
    """

    lr: float = 1e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    warmup: float = 0.1
    final_lr: float = 0.01
    clip_norm: float | None = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be positive, given {self.lr}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay cannot be negative, given {self.weight_decay}")
        for name, value in (("beta1", self.beta1), ("beta2", self.beta2), ("warmup", self.warmup)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), given {value}")
        if not 0 <= self.final_lr <= 1:
            raise ValueError(f"final_lr is a share of lr in [0, 1], given {self.final_lr}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must lie in (0, 1], given {self.layer_decay}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive or None, given {self.clip_norm}")


NO_DECAY = ("prefix", "position", "embedding", "gate", "table", "row_distance", "column_distance")


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with its ``weight_decay`` and ``lr_scale``.

    Weight matrices and kernels decay; biases, norms, position embeddings, prefix tokens and gates do not.
    With L layers in the backbone, layer i learns at layer_decay^(L - i) times the rate of the heads.

    Args:
        model: a backbone, or a module that holds one as ``backbone``.
        weight_decay: of the parameters that decay.
        layer_decay: factor for every layer further from the heads.

    Raises:
        ValueError: layer-wise decay is asked of a model without a backbone.
    """
    layers, count = ({}, 0) if layer_decay == 1 else _layer_of(model)
    groups: dict[tuple[bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim >= 2 and name.rsplit(".", 1)[-1] not in NO_DECAY
        layer = layers.get(name, count)
        group = {"params": [], "weight_decay": weight_decay * decays, "lr_scale": layer_decay ** (count - layer)}
        groups.setdefault((not decays, layer), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _layer_of(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of every parameter of the backbone, from 0 at the images, and the number of layers."""
    backbone: Any = model if hasattr(model, "parameter_layers") else getattr(model, "backbone", None)
    if not hasattr(backbone, "parameter_layers"):
        raise ValueError(f"layer_decay needs a backbone, given {type(model).__name__}")
    path = "" if backbone is model else "backbone."
    groups = backbone.parameter_layers()
    layers = {}
    for name, _ in backbone.named_parameters():
        layers[path + name] = next(
            index
            for index, prefixes in enumerate(groups)
            if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
        )
    return layers, len(groups)


def build_optimiser(model: nn.Module, config: OptimConfig) -> AdamW:
    """AdamW (arXiv 1711.05101) with one fused update for all parameters."""
    groups = parameter_groups(model, config.weight_decay, config.layer_decay)
    for group in groups:
        group["lr"] = config.lr * group["lr_scale"]
    return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def lr_share(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate at a step, counted from 0, as a share of the highest."""
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def build_schedule(optimiser: AdamW, steps: int, config: OptimConfig, done: int = 0) -> LambdaLR:
    """The schedule of :func:`lr_share`, stepped once for each update; ``done`` updates were made before."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", config.lr * group["lr_scale"])
    return LambdaLR(optimiser, lambda step: lr_share(step, steps, config), last_epoch=done - 1)
