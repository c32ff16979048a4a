"""Batches of features from a cache, with the targets of one head."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import DeviceSamples
from hybridvit.data.loaders.sampling import BatchSampler
from hybridvit.data.samples import Column, Samples
from hybridvit.hydra.feature_cache import FeatureCache

EVALUATION_BATCH = 256


class CachedBatches:
    """Batches whose images are the features that a trunk gave for them.

    Args:
        cache: the features; None: there are no samples.
        samples: the targets, in the same order.
        target: column that the head answers.
        column: what it holds.
        order: which samples a training step sees.
        device: where batches go.
    """

    def __init__(
        self,
        cache: FeatureCache | None,
        samples: Samples,
        target: str,
        column: Column,
        order: BatchSampler,
        device: torch.device,
    ) -> None:
        self.cache = cache
        self.order = order
        self.device = device
        self.columns = {target: column}
        targets = {target: torch.from_numpy(samples.targets[target])}
        present = {view: torch.from_numpy(mask) for view, mask in samples.present.items()}
        self.samples = DeviceSamples({}, targets, present)

    def __len__(self) -> int:
        return len(self.cache) if self.cache is not None else 0

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        return self._take(torch.from_numpy(self.order.indices(step)))

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), EVALUATION_BATCH):
            yield self._take(torch.arange(start, min(start + EVALUATION_BATCH, len(self))))

    def _take(self, index: Tensor) -> Batch:
        assert self.cache is not None
        drawn = self.samples.take(index).batch(self.columns, {})
        features = self.cache.read(index, self.device)
        targets = {name: values.to(self.device) for name, values in drawn.targets.items()}
        present = {view: mask.to(self.device) for view, mask in (drawn.present or {}).items()}
        return Batch(features, targets, present or None)
