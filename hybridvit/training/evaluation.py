"""What a model is worth on a split: the metrics of every task over its labelled samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from torch import nn

from hybridvit.data.batch import Batch
from hybridvit.tasks.base import Task


@torch.no_grad()
def evaluate(
    net: nn.Module, tasks: Mapping[str, Task], batches: Iterable[Batch], accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """Task name -> metric name -> value over all labelled samples of the batches; nothing where none is labelled."""
    metrics = {name: task.metric().to(accelerator.device) for name, task in tasks.items()}
    was_training = net.training
    net.eval()
    for batch in batches:
        with accelerator.autocast():
            predictions = net(batch.images, batch.present)
        for name, task in tasks.items():
            task.observe(metrics[name], predictions[name].float(), batch.target(task.target, task.view))
    net.train(was_training)
    scores = {}
    for name, task in tasks.items():
        found = metrics[name].compute()
        values = {key: float(found[key]) for key in task.higher_is_better}
        scores[name] = {key: value for key, value in values.items() if math.isfinite(value)}
    return scores


def mean_score(scores: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Task]) -> float:
    """The mean over the tasks of their first metric, none below -1; what checkpoints are selected by."""
    firsts = {name: next(iter(task.higher_is_better)) for name, task in tasks.items()}
    values = [max(scores[name][first], -1.0) for name, first in firsts.items() if first in scores[name]]
    return sum(values) / len(values) if values else -math.inf
