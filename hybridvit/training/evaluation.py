"""Evaluation of a model on a split: the metrics of every task over its labelled samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridvit.data.batch import Batch
from hybridvit.tasks.base import Task
from hybridvit.training.accelerator import to_channels_last
from hybridvit.training.compiled import eager

Scores = dict[str, dict[str, float]]


def evaluate(
    net: nn.Module,
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    accelerator: Accelerator,
    right: dict[str, list[bool]] | None = None,
) -> Scores:
    """Task name -> metric name -> value over all labelled samples of the batches; nothing where none is labelled.

    Args:
        net: the model; one that is compiled runs as it was written.
        tasks: what its heads answer, by name.
        batches: the split.
        accelerator: device and precision.
        right: gets, for every task that names one class of a whole image, whether each labelled sample is classified
            right, in order.
    """
    scored = _Scored(tasks, accelerator, right)
    with evaluation_mode(net):
        for batch in batches:
            scored.observe(_predicted(net, to_channels_last(batch.images), batch, accelerator), batch)
    return scored.values()


def evaluate_with_tta(
    net: nn.Module,
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    accelerator: Accelerator,
    right: dict[str, list[bool]] | None = None,
) -> tuple[Scores, Scores]:
    """What :func:`evaluate` gives, and the same with test-time augmentation: the horizontal flip of every image.

    The logits of the image and its flip are averaged (arXiv 2404.00498). Only tasks that name classes of a whole image
    are scored so: boxes, masks, points and numbers may differ for the flip.

    Args:
        net, tasks, batches, accelerator, right: as for :func:`evaluate`.

    Raises:
        ValueError: several cameras or cached features, or no task names classes of an image.
    """
    plain, both = _Scored(tasks, accelerator, right), _Scored({}, accelerator)
    with evaluation_mode(net):
        for batch in batches:
            images = to_channels_last(batch.images)
            flips = _flipped(images)
            predictions = _predicted(net, images, batch, accelerator)
            of_flips = _predicted(net, flips, batch, accelerator)
            if not both.tasks:
                both = _Scored(_classifying(tasks, predictions, batch), accelerator)
            plain.observe(predictions, batch)
            both.observe({name: (predictions[name].float() + of_flips[name].float()) / 2 for name in both.tasks}, batch)
    return plain.values(), both.values()


class _Scored:
    """What the tasks' metrics have seen."""

    def __init__(
        self, tasks: Mapping[str, Task], accelerator: Accelerator, right: dict[str, list[bool]] | None = None
    ) -> None:
        self.tasks, self.right = tasks, right
        self.metrics = {name: task.metric().to(accelerator.device) for name, task in tasks.items()}

    def observe(self, predictions: Mapping[str, Tensor], batch: Batch) -> None:
        for name, task in self.tasks.items():
            target = batch.target(task.target, task.view)
            task.observe(self.metrics[name], predictions[name].float(), target)
            if self.right is not None and target.ndim == 1 and _names_classes(predictions[name], target):
                hits = (predictions[name].argmax(dim=1) == target)[target >= 0]
                self.right.setdefault(name, []).extend(hits.tolist())

    def values(self) -> Scores:
        scores = {}
        for name, task in self.tasks.items():
            computed = self.metrics[name].compute()
            values = {key: float(computed[key]) for key in task.higher_is_better}
            scores[name] = {key: value for key, value in values.items() if math.isfinite(value)}
        return scores


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Nothing is learned: neither weights nor the norms' statistics nor the random state move."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was_training)


def _predicted(net: nn.Module, images: Any, batch: Batch, accelerator: Accelerator) -> dict[str, Tensor]:
    with eager(net), accelerator.autocast():
        predictions: dict[str, Tensor] = net(images, batch.present)
    return predictions


def _flipped(images: Any) -> Tensor:
    """Images ``[b, c, h, w]``, left and right swapped."""
    if not isinstance(images, Tensor):
        given = "several cameras" if isinstance(images, Mapping) else f"cached {type(images).__name__}"
        raise ValueError(f"flips need the images of one camera, given {given}")
    return images.flip(-1)


def _classifying(tasks: Mapping[str, Task], predictions: Mapping[str, Tensor], batch: Batch) -> dict[str, Task]:
    """Those that name classes of a whole image."""
    chosen = {
        name: task
        for name, task in tasks.items()
        if _names_classes(predictions[name], batch.target(task.target, task.view))
    }
    if not chosen:
        raise ValueError(f"flips are for classes of whole images, which none of {', '.join(tasks)} names")
    return chosen


def _names_classes(logits: Tensor, target: Tensor) -> bool:
    """Whether logits are ``[b, k]`` and targets, ``[b]`` or ``[b, k]``, count classes."""
    return logits.ndim == 2 and not target.is_floating_point()


def mean_score(scores: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Task]) -> float:
    """The mean over the tasks of their first metric, none below -1; what checkpoints are selected by."""
    firsts = {name: next(iter(task.higher_is_better)) for name, task in tasks.items()}
    values = [max(scores[name][first], -1.0) for name, first in firsts.items() if first in scores[name]]
    return sum(values) / len(values) if values else -math.inf
