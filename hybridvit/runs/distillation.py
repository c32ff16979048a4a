"""What other networks answer for the images that one learns from, as further targets of its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import Normalisation
from hybridvit.data.samples import Column


@dataclass(frozen=True)
class DistilledHead:
    """One classification head of a trained run, whose logits a distillation learns.

    Attributes:
        column: what the head gives.
        normalisation: of each view, as the run's model wants it.
        given: of each view, as the student's batches have it.
    """

    net: nn.Module
    task: str
    column: Column
    normalisation: Mapping[str, Normalisation]
    given: Mapping[str, Normalisation]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """The logits ``[b, classes]`` for a batch as the student sees it."""
        if isinstance(batch.images, Tensor):
            (view,) = self.given
            images: Any = self._renormalised(batch.images, view)
        else:
            images = {view: self._renormalised(pixels, view) for view, pixels in batch.images.items()}
        logits: Tensor = self.net(images, batch.present)[self.task]
        return logits.float()

    def _renormalised(self, images: Tensor, view: str) -> Tensor:
        return self.normalisation[view].of_normalised(images, self.given[view])


class TaughtBatches:
    """Batches of another source with further targets.

    Args:
        source: training batches, or those of an evaluation.
        targets: batch -> target column -> ``[b, ...]``.
    """

    def __init__(self, source: Any, targets: Callable[[Batch], Mapping[str, Tensor]]) -> None:
        self.source = source
        self.targets = targets

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        return self._taught(self.source.batch(step))

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Batch]:
        return map(self._taught, self.source)

    def _taught(self, batch: Batch) -> Batch:
        return batch._replace(targets={**batch.targets, **self.targets(batch)})


def with_distillation(source: Any, heads: Mapping[str, DistilledHead]) -> Any:
    """A source of batches with the logits of trained runs, by target column."""
    if not heads:
        return source
    return TaughtBatches(source, lambda batch: {column: head(batch) for column, head in heads.items()})
