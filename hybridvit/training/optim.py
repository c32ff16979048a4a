"""Optimiser, parameter groups and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hybridvit.config import Config
from hybridvit.training.muon import Muon

OptimKind = Literal["adamw", "muon", "sgd"]
ScheduleKind = Literal["cosine", "linear", "constant"]


class OptimConfig(Config):
    """An optimiser, with warm-up and decay of its learning rate.

    Attributes:
        kind: "adamw" (arXiv 1711.05101); "muon", orthogonalised momentum of 0.95 for the weight matrices and kernels
            of the backbone but the first, and AdamW for all other parameters; "sgd" with Nesterov momentum.
        lr: highest learning rate, reached at the end of the warm-up; with "muon" of what AdamW updates.
        muon_lr: highest learning rate of what Muon updates: the spectral norm of an update is about
            muon_lr · √max(1, rows / columns).
        weight_decay: of weight matrices and kernels; nothing else decays. A step takes lr · weight_decay of them off
            (of Muon's muon_lr · weight_decay); with "sgd" it is added to the gradient instead.
        beta1: decay of the gradient's running mean; with "sgd" the momentum.
        beta2: decay of the squared gradient's running mean; "sgd" has none.
        schedule: how the learning rate falls after the warm-up; "constant": it does not.
        warmup: share of the steps over which the learning rate rises linearly.
        final_lr: learning rate of the last step, as a share of lr; "constant" has none.
        clip_norm: largest norm of the whole gradient; None: not clipped.
        layer_decay: factor on the learning rate for every layer further from the head, for fine-tuning
            pretrained weights (BEiT, arXiv 2106.08254, §3.1); 1: all layers alike.
    """

    kind: OptimKind = "adamw"
    lr: float = 1e-3
    muon_lr: float = 0.02
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: ScheduleKind = "cosine"
    warmup: float = 0.1
    final_lr: float = 0.01
    clip_norm: float | None = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        for name, choice, choices in (
            ("kind", self.kind, get_args(OptimKind)),
            ("schedule", self.schedule, get_args(ScheduleKind)),
        ):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, given {choice!r}")
        for name, rate in (("lr", self.lr), ("muon_lr", self.muon_lr)):
            if not (rate > 0 and math.isfinite(rate)):
                raise ValueError(f"{name} must be positive, given {rate}")
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
        self._check_effects()

    def _check_effects(self) -> None:
        for name, has_effect, without in (
            ("muon_lr", self.kind == "muon", f"kind {self.kind!r}: set lr, or choose kind 'muon'"),
            ("beta2", self.kind != "sgd", "kind 'sgd': its momentum is beta1"),
            ("final_lr", self.schedule != "constant", "schedule 'constant': choose 'linear' or 'cosine'"),
        ):
            if not has_effect and getattr(self, name) != getattr(OptimConfig, name):
                raise ValueError(f"{name} {getattr(self, name)} has no effect with {without}")


NO_DECAY = ("prefix", "position", "embedding", "gate", "table", "row_distance", "column_distance")


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


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights of linear maps and convolutions in the backbone but the first, which reads the images.

    Depthwise and other grouped kernels are left out too: their rows are no map of one space.

    Args:
        model: a backbone, or a module that holds one as ``backbone``.

    Raises:
        ValueError: there are none that are trained.
    """
    backbone, path = _backbone_of(model, "kind 'muon'")
    maps = [(name, m) for name, m in backbone.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    grouped = {name for name, m in maps if isinstance(m, nn.Conv2d) and m.groups > 1}
    names = {f"{path}{name}.weight" for name, m in maps[1:] if m.weight.requires_grad and name not in grouped}
    if not names:
        raise ValueError(f"kind 'muon' finds no trained matrix behind the first of {type(backbone).__name__}")
    return names


def _backbone_of(model: nn.Module, what: str) -> tuple[Any, str]:
    """The backbone in a model, and what its parameters' names begin with there."""
    backbone: Any = model if hasattr(model, "parameter_layers") else getattr(model, "backbone", None)
    if not hasattr(backbone, "parameter_layers"):
        raise ValueError(f"{what} needs a backbone, given {type(model).__name__}")
    return backbone, "" if backbone is model else "backbone."


def _under(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a dotted name is one of these, or belongs to one."""
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def _layer_of(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of every parameter of the backbone, from 0 at the images, and the number of layers."""
    backbone, path = _backbone_of(model, "layer_decay")
    groups = backbone.parameter_layers()
    layers = {}
    for name, _ in backbone.named_parameters():
        layers[path + name] = next(index for index, prefixes in enumerate(groups) if _under(name, prefixes))
    return layers, len(groups)


def build_optimiser(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimiser of a model, with one fused update for all parameters but Muon's.

    Raises:
        ValueError: layer-wise decay or Muon is asked of a model without a backbone.
    """
    matrices = hidden_matrices(model) if config.kind == "muon" else ()
    groups = parameter_groups(model, config.weight_decay, config.layer_decay, matrices)
    for group in groups:
        group["lr"] = _peak_lr(group, config)
    match config.kind:
        case "adamw":
            return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)
        case "muon":
            return Muon(groups, (config.beta1, config.beta2))
        case "sgd":
            return SGD(groups, lr=config.lr, momentum=config.beta1, nesterov=config.beta1 > 0, fused=True)


def _peak_lr(group: dict[str, Any], config: OptimConfig) -> float:
    """A group's learning rate at the end of the warm-up."""
    rate: float = (config.muon_lr if group.get("muon") else config.lr) * group["lr_scale"]
    return rate


def lr_share(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate at a step, counted from 0, as a share of the highest."""
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    progress = min((step - warmup) / max(steps - 1 - warmup, 1), 1.0)
    left = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_lr + (1 - config.final_lr) * left


def build_schedule(optimiser: Optimizer, steps: int, config: OptimConfig, done: int = 0) -> LambdaLR:
    """The schedule of :func:`lr_share`, stepped once for each update; ``done`` updates were made before."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", _peak_lr(group, config))
    return LambdaLR(optimiser, lambda step: lr_share(step, steps, config), last_epoch=done - 1)
