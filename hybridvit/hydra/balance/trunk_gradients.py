"""The tasks' gradients in the trunk: their inner products, and how far they conflict stage by stage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridvit.hydra.hydranet import HydraNet

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


class GradientCosines(NamedTuple):
    """Cosines between the tasks' gradients.

    Attributes:
        tasks: names of the t tasks.
        stages: names of the trunk's stages, from the images to the features.
        cosines: ``[stages, t, t]``, in [-1, 1]; NaN where a task has no label, or its gradient there is zero.
    """

    tasks: tuple[str, ...]
    stages: tuple[str, ...]
    cosines: NDArray[np.floating[Any]]


def gradient_cosines(losses: Mapping[str, Tensor], present: Mapping[str, Tensor], net: HydraNet) -> GradientCosines:
    """Cosine between every two tasks' gradients in every stage of the trunk; below 0 they conflict.

    Takes a backward pass for each task that has a label. It fills no ``.grad`` and keeps the graph, so the same losses
    can train the net afterwards.

    Args:
        losses: task name -> scalar.
        present: task name -> bool scalar, whether the batch has any label of the task.
        net: the net that made the losses.
    """
    tasks, groups = tuple(losses), stages(net.backbone)
    parameters = [p for group in groups.values() for p in group]
    cosines = np.full((len(groups), len(tasks), len(tasks)), np.nan)
    labelled = [index for index, task in enumerate(tasks) if bool(present[task])]
    if parameters:
        rows = [
            iter(torch.autograd.grad(losses[tasks[index]], parameters, retain_graph=True, allow_unused=True))
            for index in labelled
        ]
        for stage, group in enumerate(groups.values()):
            products = gramian([list(islice(row, len(group))) for row in rows]).numpy()
            norms = np.sqrt(np.diagonal(products))
            norms = np.where(norms > 0, norms, np.nan)
            cosines[stage][np.ix_(labelled, labelled)] = np.clip(products / np.outer(norms, norms), -1, 1)
    return GradientCosines(tasks, tuple(groups), cosines)


def _common(prefixes: tuple[str, ...]) -> str:
    """The common beginning of dotted names."""
    columns = zip(*(prefix.split(".") for prefix in prefixes), strict=False)
    return ".".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))


def _numbered(name: str) -> str:
    """The dotted name up to its last number, if it has one."""
    match = re.match(r"(?:.*\.)?\d+(?![^.])", name)
    return match[0] if match else name
