"""The features of a run's trunk, written once for all heads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from hybridvit.data.loaders.batches import evaluation_batches
from hybridvit.data.samples import SPLITS, Splits
from hybridvit.hydra.feature_cache import INDEX, FeatureCache
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.layers.dense import DenseNeck
from hybridvit.runs.dataset_info import images_digest
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.net import evaluation_batch


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
        trained: the run.
        splits: its data.
        net: the trunk with the heads that will read them, which say what is kept.
        on_batch: called with part, samples done and samples in all.
    """
    necks = [module for module in net.heads.modules() if isinstance(module, DenseNeck)]
    strides = {stride for neck in necks for stride in neck.strides}
    views = set(net.reads.values())
    key = hashlib.sha256(f"{trained.trunk} {images_digest(splits)}".encode()).hexdigest()[:16]
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


def cache_folders(run: Path) -> list[Path]:
    """All caches of a run."""
    return sorted(path for path in (run / "features").glob("*") if not path.name.startswith("."))


@torch.no_grad()
def _features(
    trained: LoadedRun, net: HydraNet, samples: Any, split: str, on_batch: Callable[[str, int, int], None] | None
) -> Iterator[Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device).eval()
    data = trained.data
    done = 0
    for batch in evaluation_batches(samples, data.columns, data.normalisation, evaluation_batch(data.shapes), device):
        yield net.features(batch.images, batch.present)
        done = min(done + evaluation_batch(data.shapes), len(samples))
        if on_batch is not None:
            on_batch(split, done, len(samples))
