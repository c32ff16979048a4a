"""The most memory that a run holds at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridvit.bench.measure import DEVICE, Run


class LiveMemory(TorchDispatchMode):
    """The ``peak`` bytes of the tensors made under it and alive, saved ones included, buffers inside kernels not."""

    def __init__(self) -> None:
        super().__init__()
        self.live: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        self.live.update((storage, storage.nbytes()) for storage in storages(out) - given)
        self.peak = max(self.peak, sum(self.live.values()))
        return out


def storages(tree: Any) -> set[torch.UntypedStorage]:
    """The memory behind the tensors in nested lists, tuples and dictionaries."""
    return {leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


def peak_memory(run: Run) -> int:
    """The most bytes a run holds at once beyond what was there before; what its first run keeps is not counted."""
    run()
    if DEVICE.type == "cpu":
        with LiveMemory() as memory:
            run()
        return memory.peak
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before
