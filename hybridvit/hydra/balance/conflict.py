"""How far the tasks pull the trunk in different directions, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridvit.hydra.balance.trunk_gradients import gramian, stages
from hybridvit.hydra.hydranet import HydraNet


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
