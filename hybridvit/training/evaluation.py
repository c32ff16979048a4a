"""What a model is worth on a split: the metrics of every task over its labelled samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridvit.data.batch import Batch
from hybridvit.tasks.base import Task
from hybridvit.training.compiled import as_written
from hybridvit.training.layout import laid_out


@torch.no_grad()
def evaluate(
    net: nn.Module,
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    accelerator: Accelerator,
    flips: bool = False,
) -> dict[str, dict[str, float]]:
    """Task name -> metric name -> value over all labelled samples of the batches; nothing where none is labelled.

    Args:
        net: the model; one that is compiled runs as it was written.
        tasks: what its heads answer, by name.
        batches: the split.
        accelerator: device and precision.
        flips: every image is also read as its mirror image, and the logits of both are averaged, as arXiv 2404.00498
            does; only tasks that name classes of a whole image are scored, since what else is asked of it (boxes,
            masks, points, numbers) may be another for its mirror image.

    Raises:
        ValueError: ``flips`` with several cameras or cached features, or where no task names classes of an image.
    """
    metrics = {name: task.metric().to(accelerator.device) for name, task in tasks.items()}
    chosen = dict(tasks)
    was_training = net.training
    net.eval()
    for batch in batches:
        targets = {name: batch.target(task.target, task.view) for name, task in tasks.items()}
        images = laid_out(batch.images)
        with as_written(net), accelerator.autocast():
            predictions = net(images, batch.present)
            mirrored = net(_mirrored(images), batch.present) if flips else None
        if mirrored is not None:
            chosen = {n: task for n, task in tasks.items() if _names_classes(predictions[n], targets[n])}
            predictions = {name: (predictions[name].float() + mirrored[name].float()) / 2 for name in chosen}
            if not chosen:
                raise ValueError(f"flips are for classes of whole images, which none of {', '.join(tasks)} names")
        for name, task in chosen.items():
            task.observe(metrics[name], predictions[name].float(), targets[name])
    net.train(was_training)
    scores = {}
    for name, task in chosen.items():
        found = metrics[name].compute()
        values = {key: float(found[key]) for key in task.higher_is_better}
        scores[name] = {key: value for key, value in values.items() if math.isfinite(value)}
    return scores


def _mirrored(images: Any) -> Tensor:
    """Images ``[b, c, h, w]``, left and right swapped."""
    if not isinstance(images, Tensor):
        given = "several cameras" if isinstance(images, Mapping) else f"cached {type(images).__name__}"
        raise ValueError(f"flips need the images of one camera, given {given}")
    return images.flip(-1)


def _names_classes(prediction: Tensor, target: Tensor) -> bool:
    """Whether a task's logits are ``[b, k]`` and its target counts classes."""
    return prediction.ndim == 2 and not target.is_floating_point()


def mean_score(scores: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Task]) -> float:
    """The mean over the tasks of their first metric, none below -1; what checkpoints are selected by."""
    firsts = {name: next(iter(task.higher_is_better)) for name, task in tasks.items()}
    values = [max(scores[name][first], -1.0) for name, first in firsts.items() if first in scores[name]]
    return sum(values) / len(values) if values else -math.inf
