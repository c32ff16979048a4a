"""The features of a frozen trunk on disk: heads are fine-tuned on them without running the trunk again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.backbones.features import Features
from hybridvit.hydra.hydranet import ViewFeatures

FUSED = "fused"
INDEX = "cache.json"


class FeatureCache:
    """Features ``[n, ...]`` in memory-mapped files, one folder for each split of the data.

    A map that repeats the tokens, as a vision transformer's does, is not written twice.

    Args:
        folder: written by :meth:`write`.
        views: cameras whose own features are read beside the fused ones; None: all in the cache.
        strides: the maps that are read; None: all in the cache.

    Raises:
        ValueError: there is no complete cache, or it lacks a view or a map.
    """

    def __init__(
        self, folder: Path, views: Collection[str] | None = None, strides: Collection[int] | None = None
    ) -> None:
        if not (folder / INDEX).is_file():
            raise ValueError(f"{folder} holds no features")
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.folder, self.samples = folder, int(content["samples"])
        self.views: set[str] = set(content["views"])
        self.strides: set[int] = set(content["strides"])
        if not self.views.issuperset(views or ()) or not self.strides.issuperset(strides or ()):
            raise ValueError(f"{folder} holds views {sorted(self.views)} and maps of strides {sorted(self.strides)}")
        self._read_strides = self.strides if strides is None else set(strides)
        kinds = {FUSED, *(self.views if views is None else views)}
        self.layouts: dict[str, dict[str, Any]] = {k: v for k, v in content["features"].items() if k in kinds}
        skipped = {f"map{stride}" for stride in self.strides - self._read_strides}
        self.arrays = {
            # copy-on-write: torch does not take a read-only array, and nothing is ever written to it
            (kind, name): torch.from_numpy(np.load(folder / f"{kind}.{name}.npy", mmap_mode="c"))
            for kind, layout in self.layouts.items()
            for name in layout["arrays"]
            if name not in skipped
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
            folder: replaced if it exists.
            batches: features, batch by batch.
            samples: number of samples in all batches.
            views: cameras whose own features are kept beside the fused ones.
            strides: the maps that are kept.
        """
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        files: dict[str, np.memmap[Any, np.dtype[np.float32]]] = {}
        kinds: dict[str, dict[str, Any]] = {}
        done = 0
        for batch in batches:
            start = done
            for kind, features in _kinds(batch, views).items():
                arrays, layout = _arrays(features, strides)
                kinds.setdefault(kind, layout)
                done = start + len(features.tokens)
                for name, value in arrays.items():
                    key = f"{kind}.{name}"
                    if key not in files:
                        shape = (samples, *value.shape[1:])
                        files[key] = np.lib.format.open_memmap(temporary / f"{key}.npy", "w+", np.float32, shape)
                    files[key][start:done] = value.float().cpu().numpy()
        if done != samples:
            raise ValueError(f"{samples} samples were announced, {done} came")
        for file in files.values():
            file.flush()
        content = {"samples": samples, "views": sorted(views), "strides": sorted(strides), "features": kinds}
        (temporary / INDEX).write_text(json.dumps(content, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return cls(folder)

    def __len__(self) -> int:
        return self.samples

    def read(self, index: Tensor | slice, device: torch.device) -> Features | ViewFeatures:
        """The features of these samples; the index lives on the CPU."""
        features = {kind: self._features(kind, index, device) for kind in self.layouts}
        fused = features.pop(FUSED)
        return ViewFeatures(fused, features) if features else fused

    def _features(self, kind: str, index: Tensor | slice, device: torch.device) -> Features:
        layout = self.layouts[kind]
        arrays = {name: array[index].to(device) for (owner, name), array in self.arrays.items() if owner == kind}
        tokens, prefix, grid = arrays.pop("tokens"), arrays.pop("prefix"), (layout["grid"][0], layout["grid"][1])
        maps = {int(name.removeprefix("map")): value for name, value in arrays.items()}
        for stride in self._read_strides.intersection(layout["tokens_are_maps"]):
            maps[stride] = _token_map(tokens, grid)
        return Features(tokens, prefix, grid, dict(sorted(maps.items())))

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


class FrozenTrunk(nn.Module):
    """Takes the place of a backbone where its features are given."""

    def forward(self, features: Features | ViewFeatures, present: None = None) -> Features | ViewFeatures:
        return features


def _kinds(features: Features | ViewFeatures, views: Collection[str]) -> dict[str, Features]:
    if isinstance(features, Features):
        return {FUSED: features}
    return {FUSED: features.fused, **{view: features.views[view] for view in views}}


def _arrays(features: Features, strides: Collection[int]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays to write, and their layout: the grid, their names, and the maps that equal the tokens."""
    token_map = _token_map(features.tokens, features.grid)
    equal = [s for s in strides if features.maps[s].shape == token_map.shape and features.maps[s].equal(token_map)]
    arrays = {"tokens": features.tokens, "prefix": features.prefix}
    arrays |= {f"map{stride}": features.maps[stride] for stride in strides if stride not in equal}
    return arrays, {"grid": list(features.grid), "arrays": list(arrays), "tokens_are_maps": equal}


def _token_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return rearrange(tokens, "b (gh gw) d -> b d gh gw", gh=grid[0])
