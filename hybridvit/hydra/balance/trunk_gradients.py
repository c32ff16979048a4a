"""The trunk's parameters by stage, and inner products of the tasks' gradients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 1 << 18  # numbers of each gradient that are multiplied at a time; they fit a cache

Gradients = Sequence[Tensor | None]


def gramian(rows: Sequence[Gradients]) -> Tensor:
    """Inner products of gradients, ``[t, t]`` float64 on the CPU.

    Products are taken in float32 and summed in float64.

    Args:
        rows: for each of t tasks one gradient for every parameter, the same parameters for all; None is zero.
    """
    device = next((g.device for row in rows for g in row if g is not None), torch.device("cpu"))
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=device)
    for column in zip(*rows, strict=True):
        reached = [index for index, g in enumerate(column) if g is not None]
        flat = [g.flatten().split(CHUNK) for g in column if g is not None]
        for parts in zip(*flat, strict=True):
            block = torch.stack(parts)
            block = block if block.dtype == torch.float64 else block.float()
            products = (block @ block.T).double()
            if len(reached) == len(rows):
                total += products
            else:
                index = torch.tensor(reached, device=device)
                total[index[:, None], index] += products
    return total.cpu()


def stages(backbone: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Stage name -> its trainable parameters, from the images to the features; "stem" is the first.

    The stages are the backbone's ``parameter_layers``; stages without trainable parameters are left out.
    """
    owner: Any = backbone
    groups: list[tuple[str, ...]] = owner.parameter_layers()
    trained = [(name, p) for name, p in backbone.named_parameters() if p.requires_grad]
    members: list[tuple[tuple[str, ...], list[nn.Parameter]]] = []
    for group in groups:
        matches = [(prefix, p) for prefix in group for name, p in trained if f"{name}.".startswith(f"{prefix}.")]
        members.append((tuple(dict.fromkeys(prefix for prefix, _ in matches)), [p for _, p in matches]))
    common = [_common(prefixes) for prefixes, _ in members]
    named: dict[str, list[nn.Parameter]] = {}
    for index, (prefixes, parameters) in enumerate(members):
        if parameters:
            alone = common[index] and common.count(common[index]) == 1
            name = common[index] if alone else _numbered(prefixes[0])
            short = name.removeprefix("trunk.").removeprefix("model.")  # without the module around the whole trunk
            named["stem" if index == 0 and len(groups) > 1 else short] = parameters
    return named


def _common(prefixes: tuple[str, ...]) -> str:
    """The common beginning of dotted names."""
    columns = zip(*(prefix.split(".") for prefix in prefixes), strict=False)
    return ".".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))


def _numbered(name: str) -> str:
    """The dotted name up to its last number, if it has one."""
    match = re.match(r"(?:.*\.)?\d+(?![^.])", name)
    return match[0] if match else name
