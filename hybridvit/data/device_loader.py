"""Batches from images that live on the device: no worker processes, no copies, resumable at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybridvit.data.batch import Batch
from hybridvit.data.splits import ImageSet
from hybridvit.data.transforms import AugmentConfig, augment


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of pixel values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: np.ndarray) -> Normalisation:
        """Of uint8 images ``[n, c, h, w]``; a channel without contrast keeps its scale."""
        pixels = torch.from_numpy(images)
        mean, std = [], []
        for channel in range(pixels.shape[1]):
            count = torch.bincount(pixels[:, channel].flatten(), minlength=256).double()
            level = torch.arange(256, dtype=torch.float64) / 255
            average = float((count * level).sum() / count.sum())
            spread = float(((count * (level - average) ** 2).sum() / count.sum()).sqrt())
            mean.append(average)
            std.append(spread if spread > 1e-6 else 1.0)
        return cls(tuple(mean), tuple(std))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 ``[b, c, h, w]`` -> normalised floats."""
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return (images.float() / 255 - mean) / std


class DeviceLoader:
    """The training batches: each is a function of the seed and the step alone.

    Samples are drawn without repetition within an epoch, and a batch may span two epochs, so that
    all batches are full even when there are fewer images than a batch holds.

    Args:
        images: what to draw from.
        target: name of the target column.
        normalisation: applied after augmentation.
        augmentation: drawn for each sample alone.
        batch_size: samples in a batch.
        seed: seed of order and augmentation.
        device: where images live.
    """

    def __init__(
        self,
        images: ImageSet,
        target: str,
        normalisation: Normalisation,
        augmentation: AugmentConfig,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.images = torch.from_numpy(images.images).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)
        self.target = target
        self.normalisation = normalisation
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = (-1, np.zeros(0, np.int64))

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        index = torch.from_numpy(self._indices(step)).to(self.images.device)
        generator = torch.Generator(self.images.device).manual_seed(_seed(self.seed, 1, step))
        images = augment(self.images[index], self.augmentation, generator)
        return Batch(self.normalisation(images), {self.target: self.labels[index]})

    def _indices(self, step: int) -> np.ndarray:
        position, wanted = step * self.batch_size, self.batch_size
        parts = []
        while wanted:
            epoch, start = divmod(position, len(self.labels))
            part = self._order(epoch)[start : start + wanted]
            parts.append(part)
            position, wanted = position + len(part), wanted - len(part)
        return np.concatenate(parts)

    def _order(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.labels)))
        return self._epoch[1]


class EvaluationLoader:
    """All images once, in order, without augmentation; arguments as for :class:`DeviceLoader`."""

    def __init__(
        self, images: ImageSet, target: str, normalisation: Normalisation, batch_size: int, device: torch.device
    ) -> None:
        self.images = images
        self.target = target
        self.normalisation = normalisation
        self.batch_size = batch_size
        self.device = device

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.images), self.batch_size):
            part = self.images[start : start + self.batch_size]
            images = torch.from_numpy(part.images).to(self.device)
            labels = torch.from_numpy(part.labels).to(self.device)
            yield Batch(self.normalisation(images), {self.target: labels})


def _seed(*parts: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
