"""The features of a run's trunk, written once for all heads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from hybridvit.build.net import evaluation_batch
from hybridvit.build.trained import Trained
from hybridvit.data.device_loader import EvaluationLoader
from hybridvit.data.splits import Splits
from hybridvit.hydra.feature_cache import FeatureCache
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.layers.dense import DenseNeck

PARTS = ("train", "validation", "test")


def write_features(
    trained: Trained,
    splits: Splits,
    net: HydraNet,
    on_batch: Callable[[str, int, int], None] | None = None,
) -> dict[str, FeatureCache]:
    """The features of every part of the data, without augmentation; what is there already is not computed again.

    They lie in ``RUN/features/KEY/PART``, where KEY stands for the trunk's weights, the data, and what is kept.

    Args:
        trained: the run.
        splits: its data.
        net: the trunk with the heads that will read them, which say what is kept.
        on_batch: called with part, samples done and samples in all.
    """
    necks = [module for module in net.heads.modules() if isinstance(module, DenseNeck)]
    strides = sorted({stride for neck in necks for stride in neck.strides})
    views = sorted(set(net.reads.values()))
    kept = f"{trained.trunk} {trained.data.digest} {strides} {views}"
    folder = trained.path / "features" / hashlib.sha256(kept.encode()).hexdigest()[:16]
    caches = {}
    for part in PARTS:
        samples = getattr(splits, part)
        if not len(samples):
            continue
        if (folder / part / "cache.json").is_file():
            caches[part] = FeatureCache(folder / part)
            continue
        batches = _features(trained, net, samples, part, on_batch)
        caches[part] = FeatureCache.write(folder / part, batches, len(samples), views, strides)
    return caches


def cache_folders(run: Path) -> list[Path]:
    """All caches of a run."""
    return sorted(path for path in (run / "features").glob("*") if not path.name.startswith("."))


@torch.no_grad()
def _features(
    trained: Trained, net: HydraNet, samples: Any, part: str, on_batch: Callable[[str, int, int], None] | None
) -> Iterator[Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device).eval()
    data = trained.data
    done = 0
    for batch in EvaluationLoader(samples, data.columns, data.normalisation, evaluation_batch(data.shapes), device):
        yield net.features(batch.images, batch.present)
        done = min(done + evaluation_batch(data.shapes), len(samples))
        if on_batch is not None:
            on_batch(part, done, len(samples))
