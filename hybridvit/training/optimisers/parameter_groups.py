"""A model's parameters by what the optimiser does with them: decay, and a learning rate for each layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import nn

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
