"""What a frozen trunk sees of every sample, on disk: heads are tuned on it without running the trunk again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Features
from hybridvit.hydra.hydranet import ViewFeatures

FUSED = "fused"
INDEX = "cache.json"


class FeatureCache:
    """Features ``[n, ...]`` in memory-mapped files, one folder for each part of the data.

    A map that holds the tokens once more, as that of a vision transformer, is not written twice.

    Args:
        folder: what :meth:`write` has written.
        views: cameras whose own features are read beside the fused ones; None: all that are there.
        strides: the maps that are read; None: all that are there.

    Raises:
        ValueError: there is no complete cache, or it does not hold what is asked for.
    """

    def __init__(
        self, folder: Path, views: Collection[str] | None = None, strides: Collection[int] | None = None
    ) -> None:
        index = folder / INDEX
        if not index.is_file():
            raise ValueError(f"{folder} holds no features")
        about = json.loads(index.read_text(encoding="utf-8"))
        self.folder = folder
        self.samples = int(about["samples"])
        self.views: set[str] = set(about["views"])
        self.strides: set[int] = set(about["strides"])
        if not self.views.issuperset(views or ()) or not self.strides.issuperset(strides or ()):
            raise ValueError(f"{folder} holds views {sorted(self.views)} and maps of strides {sorted(self.strides)}")
        self._read_strides = self.strides if strides is None else set(strides)
        kinds = {FUSED, *(self.views if views is None else views)}
        self.kinds: dict[str, dict[str, Any]] = {k: v for k, v in about["features"].items() if k in kinds}
        self.arrays = {
            kind: {
                # copy-on-write: torch does not take a read-only array, and nothing is ever written to it
                name: torch.from_numpy(np.load(folder / f"{kind}.{name}.npy", mmap_mode="c"))
                for name in entry["arrays"]
                if not name.startswith("map") or int(name.removeprefix("map")) in self._read_strides
            }
            for kind, entry in self.kinds.items()
        }

    @classmethod
    def write(
        cls,
        folder: Path,
        batches: Iterable[Features | ViewFeatures],
        samples: int,
        views: Collection[str] = (),
        strides: Collection[int] = (),
    ) -> FeatureCache:
        """Writes the features of all batches, whole or not at all.

        Args:
            folder: where; replaced if it is there.
            batches: features, batch by batch.
            samples: how many there are in all.
            views: cameras whose own features are kept beside the fused ones.
            strides: the maps that are kept.
        """
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        arrays: dict[str, np.memmap[Any, np.dtype[np.float32]]] = {}
        kinds: dict[str, dict[str, Any]] = {}
        done = 0
        for batch in batches:
            count = 0
            for kind, features in _kinds(batch, views).items():
                parts, entry = _parts(features, strides)
                kinds.setdefault(kind, entry)
                count = len(features.tokens)
                for name, value in parts.items():
                    key = f"{kind}.{name}"
                    if key not in arrays:
                        shape = (samples, *value.shape[1:])
                        opened: Any = np.lib.format.open_memmap(temporary / f"{key}.npy", "w+", np.float32, shape)
                        arrays[key] = opened
                    arrays[key][done : done + count] = value.float().cpu().numpy()
            done += count
        if done != samples:
            raise ValueError(f"{samples} samples were announced, {done} came")
        for array in arrays.values():
            array.flush()
        about = {"samples": samples, "views": sorted(views), "strides": sorted(strides), "features": kinds}
        (temporary / INDEX).write_text(json.dumps(about, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return cls(folder)

    def __len__(self) -> int:
        return self.samples

    def read(self, index: Tensor | slice, device: torch.device) -> Features | ViewFeatures:
        """The features of these samples; the index lives on the CPU."""
        found = {kind: self._features(kind, index, device) for kind in self.kinds}
        fused = found.pop(FUSED)
        return ViewFeatures(fused, found) if found else fused

    def _features(self, kind: str, index: Tensor | slice, device: torch.device) -> Features:
        entry = self.kinds[kind]
        held = {name: array[index].to(device) for name, array in self.arrays[kind].items()}
        grid = (entry["grid"][0], entry["grid"][1])
        maps = {int(name.removeprefix("map")): value for name, value in held.items() if name.startswith("map")}
        for stride in self._read_strides.intersection(entry["tokens_are_maps"]):
            maps[stride] = held["tokens"].transpose(1, 2).unflatten(2, grid)
        return Features(held["tokens"], held["prefix"], grid, dict(sorted(maps.items())))

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


class FrozenTrunk(nn.Module):
    """In place of a backbone: it is given what the backbone would have seen."""

    def forward(self, features: Features | ViewFeatures, present: None = None) -> Features | ViewFeatures:
        return features


def _kinds(features: Features | ViewFeatures, views: Collection[str]) -> dict[str, Features]:
    if isinstance(features, Features):
        return {FUSED: features}
    return {FUSED: features.fused, **{view: features.views[view] for view in views}}


def _parts(features: Features, strides: Collection[int]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What is written of some features, and what is not an array of its own."""
    as_map = features.tokens.transpose(1, 2).unflatten(2, features.grid)
    parts, tokens_are_maps = {"tokens": features.tokens, "prefix": features.prefix}, []
    for stride in strides:
        found = features.maps[stride]
        if found.shape == as_map.shape and torch.equal(found, as_map):
            tokens_are_maps.append(stride)
        else:
            parts[f"map{stride}"] = found
    return parts, {"grid": list(features.grid), "arrays": list(parts), "tokens_are_maps": tokens_are_maps}
