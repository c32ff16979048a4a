"""Batches of samples, wherever their images are."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.loaders.device_loader import DeviceLoader, EvaluationLoader, Normalisation
from hybridvit.data.loaders.file_loader import FileEvaluationLoader, FileLoader
from hybridvit.data.loaders.sampling import BatchSampler
from hybridvit.data.samples import Column, Samples


def training_batches(
    samples: Samples,
    columns: Mapping[str, Column],
    normalisation: Mapping[str, Normalisation],
    augmentation: AugmentConfig,
    sampler: BatchSampler,
    seed: int,
    device: torch.device,
    steps: int | None = None,
) -> DeviceLoader | FileLoader:
    """A batch for every step; arguments as for :class:`FileLoader`, whose workers end after ``steps`` of them."""
    if samples.on_disk:
        return FileLoader(samples, columns, normalisation, augmentation, sampler, seed, device, steps)
    return DeviceLoader(samples, columns, normalisation, augmentation, sampler, seed, device)


def evaluation_batches(
    samples: Samples,
    columns: Mapping[str, Column],
    normalisation: Mapping[str, Normalisation],
    batch_size: int,
    device: torch.device,
) -> EvaluationLoader | FileEvaluationLoader:
    """All samples once, in order, without augmentation."""
    if samples.on_disk:
        return FileEvaluationLoader(samples, columns, normalisation, batch_size, device)
    return EvaluationLoader(samples, columns, normalisation, batch_size, device)
