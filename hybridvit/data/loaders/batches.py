"""Batches of samples, wherever their images are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import DeviceLoader, DeviceSamples, Normalisation, TrainingData
from hybridvit.data.loaders.file_batches import FileBatches
from hybridvit.data.loaders.file_loader import FileLoader, read_ahead
from hybridvit.data.samples import Column, Samples


def training_batches(data: TrainingData) -> DeviceLoader | FileLoader:
    """A batch for every step; the workers that read images on disk end after ``data.steps`` of them."""
    return FileLoader(data) if data.samples.on_disk else DeviceLoader(data)


@dataclass(frozen=True)
class EvaluationLoader:
    """All samples once, in order, without augmentation.

    Where images are on disk, every pass starts its own workers, which end with it.

    Attributes:
        samples: what to go through.
        columns: what their targets hold.
        normalisation: of each view.
        batch_size: samples in a batch; the last may have fewer.
        device: where batches go.
    """

    samples: Samples
    columns: Mapping[str, Column]
    normalisation: Mapping[str, Normalisation]
    batch_size: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Batch]:
        for drawn in self._read():
            yield drawn.to(self.device).batch(self.columns, self.normalisation)

    def _read(self) -> Iterator[DeviceSamples]:
        starts = range(0, len(self), self.batch_size)
        rows = [np.arange(start, min(start + self.batch_size, len(self))) for start in starts]
        if self.samples.on_disk:
            keys = [(0, some) for some in rows]
            yield from read_ahead(FileBatches(self.samples, self.columns), keys, self.device)
        else:
            yield from (DeviceSamples.of(self.samples[some]) for some in rows)
