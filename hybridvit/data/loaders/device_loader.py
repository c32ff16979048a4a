"""Batches from images that live on the device: no worker processes, no copies, resumable at any step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybridvit.data.augment.mixing import mix
from hybridvit.data.augment.transforms import AugmentConfig, augment, erase
from hybridvit.data.batch import Batch, Mix
from hybridvit.data.loaders.sampling import BatchSampler, seed_of
from hybridvit.data.samples import ONE_VIEW, VOID, Column, ColumnKind, Samples

# Training batches that a GPU makes at once: all the small steps of augmentation are asked for one by one, in about
# the same time for eight batches as for one, and a small model's step is hardly longer than that.
AHEAD = 8
MOST_VALUES = 2**25  # of their images, 128 MiB in float32


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
        mean, std = (_channels(values, images.device) for values in (self.mean, self.std))
        return (images / 255).sub_(mean).div_(std)

    def of_normalised(self, images: Tensor, other: Normalisation) -> Tensor:
        """Images ``[b, c, h, w]`` that another one has normalised, normalised by this one."""
        mean, std = (_channels(values, images.device) for values in (self.mean, self.std))
        other_mean, other_std = (_channels(values, images.device) for values in (other.mean, other.std))
        return images * (other_std / std) + (other_mean - mean) / std


@lru_cache(maxsize=64)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number for each channel, ``[c, 1, 1]``; made once, for a GPU waits for every copy of a few numbers."""
    return torch.tensor(values, device=device)[:, None, None]


@dataclass(frozen=True)
class TrainingData:
    """What training batches are made of.

    Attributes:
        samples: what to draw from.
        columns: what their targets hold.
        normalisation: of each view, applied after augmentation.
        augmentation: drawn for each sample alone; the images of several cameras are left alone.
        sampler: which samples a step sees.
        seed: seed of the augmentation.
        device: where batches go.
        steps: number of batches that will be asked for; None: not known.
    """

    samples: Samples
    columns: Mapping[str, Column]
    normalisation: Mapping[str, Normalisation]
    augmentation: AugmentConfig
    sampler: BatchSampler
    seed: int
    device: torch.device
    steps: int | None = None


class DeviceLoader:
    """The training batches of images in memory: each is a function of the seed and the step, on one kind of device.

    On a GPU up to eight of them are made at once.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.samples = DeviceSamples.of(data.samples).to(data.device)
        self.ahead = 1
        if data.device.type != "cpu" and self.samples.views.keys() == {ONE_VIEW}:
            values = self.samples.views[ONE_VIEW][0].numel() * len(data.sampler.indices(0))
            self.ahead = max(1, min(AHEAD, MOST_VALUES // values))
        self._made: tuple[int, list[Batch]] = (-1, [])  # which of the groups of batches, and it

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        group, place = divmod(step, self.ahead)
        if self._made[0] != group:
            self._made = (group, self._batches(group))
        return self._made[1][place]

    def _batches(self, group: int) -> list[Batch]:
        data, steps = self.data, range(group * self.ahead, (group + 1) * self.ahead)
        numbers = np.concatenate([data.sampler.indices(step) for step in steps])
        drawn = self.samples.take(torch.from_numpy(numbers).to(data.device, non_blocking=True))
        if drawn.views.keys() != {ONE_VIEW}:
            return [drawn.batch(data.columns, data.normalisation)]
        generator = torch.Generator(data.device).manual_seed(seed_of(data.seed, 1, group))
        pixels, targets = augment(drawn.views[ONE_VIEW], drawn.targets, data.columns, data.augmentation, generator)
        batch = drawn._replace(views={ONE_VIEW: pixels}, targets=targets).batch(data.columns, data.normalisation)
        return split(erased_and_mixed(batch, data.augmentation, generator, self.ahead), self.ahead)


def erased_and_mixed(batch: Batch, config: AugmentConfig, generator: torch.Generator, batches: int = 1) -> Batch:
    """What augmentation does to normalised images of one view; ``batches`` as for :func:`mix`."""
    images = erase(batch.images, config, generator)
    if not (config.mixup or config.cutmix):
        return batch._replace(images=images)
    images, how = mix(images, config, generator, batches)
    return batch._replace(images=images, mix=how)


def split(batch: Batch, number: int) -> list[Batch]:
    """So many batches of one size, which are one after the other in one."""
    images = batch.images.chunk(number)
    targets = {name: values.chunk(number) for name, values in batch.targets.items()}
    mixes = [Mix(*how) for how in zip(*(part.chunk(number) for part in batch.mix), strict=True)] if batch.mix else None
    return [
        Batch(pixels, {name: values[i] for name, values in targets.items()}, mix=mixes[i] if mixes else None)
        for i, pixels in enumerate(images)
    ]


class DeviceSamples(NamedTuple):
    """:class:`Samples` as tensors on a device."""

    views: dict[str, Tensor]
    targets: dict[str, Tensor]
    present: dict[str, Tensor]

    @classmethod
    def of(cls, samples: Samples) -> DeviceSamples:
        """Samples whose images are in memory, where there are several views with the presence of each."""
        parts = (samples.views, samples.targets, samples.presence)
        return cls(*({name: torch.from_numpy(values) for name, values in part.items()} for part in parts))

    def to(self, device: torch.device) -> DeviceSamples:
        return self._each(lambda values: values.to(device, non_blocking=True))

    def take(self, index: Tensor) -> DeviceSamples:
        """The samples of these indices ``[b]``."""
        return self._each(lambda values: values[index])

    def _each(self, function: Callable[[Tensor], Tensor]) -> DeviceSamples:
        return DeviceSamples(*({name: function(values) for name, values in part.items()} for part in self))

    def batch(self, columns: Mapping[str, Column], normalisation: Mapping[str, Normalisation]) -> Batch:
        """Normalised images, and targets as tasks read them: whole numbers as int64, no label of a mask as -1."""
        images = {view: normalisation[view](pixels) for view, pixels in self.views.items()}
        targets = {name: _target(columns[name].kind, values) for name, values in self.targets.items()}
        if images.keys() == {ONE_VIEW}:
            return Batch(images[ONE_VIEW], targets)
        return Batch(images, targets, self.present)


def _target(kind: ColumnKind, values: Tensor) -> Tensor:
    if kind == "mask":
        return torch.where(values == VOID, -1, values.long())
    return values.long() if kind in ("class", "multilabel") else values
