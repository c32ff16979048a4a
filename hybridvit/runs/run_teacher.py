"""What a trained run says of the images that another one learns from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import Normalisation
from hybridvit.data.samples import Column


@dataclass(frozen=True)
class Teacher:
    """One head of a trained run.

    Attributes:
        net: the run's model, in evaluation.
        task: name of the head.
        column: what the head gives.
        normalisation: of each view, as the teacher wants it.
        given: of each view, as the student's batches have it.
    """

    net: nn.Module
    task: str
    column: Column
    normalisation: Mapping[str, Normalisation]
    given: Mapping[str, Normalisation]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """The teacher's logits ``[b, classes]`` for a batch as the student sees it."""
        if isinstance(batch.images, Tensor):
            (view,) = self.given
            images: Any = self._again(batch.images, view)
        else:
            images = {view: self._again(pixels, view) for view, pixels in batch.images.items()}
        logits: Tensor = self.net(images, batch.present)[self.task]
        return logits.float()

    def _again(self, images: Tensor, view: str) -> Tensor:
        return self.normalisation[view].of_normalised(images, self.given[view])


class TeacherBatches:
    """Batches of another source with what teachers say as further targets.

    Args:
        source: training batches, or those of an evaluation.
        teachers: target column -> who fills it.
    """

    def __init__(self, source: Any, teachers: Mapping[str, Teacher]) -> None:
        self.source = source
        self.teachers = teachers

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        return self._taught(self.source.batch(step))

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.source:
            yield self._taught(batch)

    def _taught(self, batch: Batch) -> Batch:
        said = {column: teacher(batch) for column, teacher in self.teachers.items()}
        return batch._replace(targets={**batch.targets, **said})
