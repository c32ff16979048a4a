"""The features of a run's trunk, written once for all heads, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybridvit.data.batch import Batch
from hybridvit.data.file_images import FileImages
from hybridvit.data.loaders.device_loader import DeviceSamples
from hybridvit.data.loaders.sampling import BatchSampler
from hybridvit.data.samples import SPLITS, Column, Samples, Splits
from hybridvit.hydra.feature_cache import INDEX, FeatureCache
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.layers.dense import DenseNeck
from hybridvit.runs.loaded_run import LoadedRun

CACHED_BATCH = 256  # samples in a batch of evaluation on features


def write_features(
    trained: LoadedRun,
    splits: Splits,
    net: HydraNet,
    on_batch: Callable[[str, int, int], None] | None = None,
) -> dict[str, FeatureCache]:
    """The features of every split, without augmentation; features that are stored already are not computed again.

    They lie in ``RUN/features/KEY/PART``, where KEY stands for the trunk's weights and the data. A head that needs more
    than is there has it written anew, with what the others need.

    Args:
        trained, splits: the run and its data.
        net: the trunk with the heads that will read them, which say what is kept.
        on_batch: called with part, samples done and samples in all.
    """
    necks = [module for module in net.heads.modules() if isinstance(module, DenseNeck)]
    strides = {stride for neck in necks for stride in neck.strides}
    views = set(net.reads.values())
    key = hashlib.sha256(f"{trained.trunk} {_images_digest(splits)}".encode()).hexdigest()[:16]
    caches = {}
    for split in SPLITS:
        samples = getattr(splits, split)
        if not len(samples):
            continue
        folder = trained.path / "features" / key / split
        held = FeatureCache(folder) if (folder / INDEX).is_file() else None
        if held is None or not (held.views >= views and held.strides >= strides):
            more_views, more_strides = (held.views, held.strides) if held is not None else (set(), set())
            batches = _features(trained, net, samples, split, on_batch)
            FeatureCache.write(folder, batches, len(samples), views | more_views, strides | more_strides)
        caches[split] = FeatureCache(folder, views, strides)
    return caches


def _images_digest(splits: Splits) -> str:
    """SHA-256 of all images (of those on disk, of which files they are) and of how they are split."""
    digest = hashlib.sha256()
    for split in SPLITS:
        samples = getattr(splits, split)
        digest.update(f"{split} {len(samples)}".encode())
        for view, images in samples.views.items():
            digest.update(view.encode())
            on_disk = isinstance(images, FileImages)
            digest.update(images.digest() if on_disk else np.ascontiguousarray(images).data)
            if view in samples.present:
                digest.update(np.ascontiguousarray(samples.present[view]).data)
    return digest.hexdigest()


@torch.no_grad()
def _features(
    trained: LoadedRun, net: HydraNet, samples: Any, split: str, on_batch: Callable[[str, int, int], None] | None
) -> Iterator[Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device).eval()
    data = trained.data
    done = 0
    for batch in data.evaluation_batches(samples, device):
        yield net.features(batch.images, batch.present)
        done = min(done + data.evaluation_batch, len(samples))
        if on_batch is not None:
            on_batch(split, done, len(samples))


class CachedBatches:
    """Batches whose images are the features that a trunk gave for them.

    Args:
        cache: the features; None: there are no samples.
        samples: the same samples, with the column ``target`` that the head answers.
        order: which of them a training step sees.
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
        for start in range(0, len(self), CACHED_BATCH):
            yield self._take(torch.arange(start, min(start + CACHED_BATCH, len(self))))

    def _take(self, index: Tensor) -> Batch:
        assert self.cache is not None
        drawn = self.samples.take(index).batch(self.columns, {})
        features = self.cache.read(index, self.device)
        targets = {name: values.to(self.device) for name, values in drawn.targets.items()}
        present = {view: mask.to(self.device) for view, mask in (drawn.present or {}).items()}
        return Batch(features, targets, present or None)
