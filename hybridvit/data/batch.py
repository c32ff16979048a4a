"""A batch as training sees it, whatever the data came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Mix(NamedTuple):
    """How each image of a batch was mixed with another one.

    Attributes:
        partner: whose image was mixed in, ``[b]`` int64, a permutation of the batch.
        share: of the image's own label, ``[b]`` float32 in [0, 1]; 1 where nothing was mixed in.
    """

    partner: Tensor
    share: Tensor


class Batch(NamedTuple):
    """Images and their targets.

    Attributes:
        images: ``[b, c, h, w]`` floats, normalised; with several cameras a mapping view name -> images; with a
            frozen trunk the features that it gave, from a cache.
        targets: target column -> ``[b, ...]``, as data's ``Column`` says, but masks int64 with -1 for no label.
        present: view name -> ``[b]`` bool, whether the sample has that view; None: one view, which every sample has.
        mix: how the images were mixed, while the targets are those of the images before; None: they were not.
    """

    images: Any
    targets: dict[str, Tensor]
    present: Mapping[str, Tensor] | None = None
    mix: Mix | None = None

    def target(self, column: str, view: str | None = None) -> Tensor:
        """A target ``[b, ...]``; of a head that reads one camera, unlabelled where that camera is missing."""
        target = self.targets[column]
        if view is None or self.present is None or view not in self.present:
            return target
        present = self.present[view].view(-1, *[1] * (target.ndim - 1))
        return torch.where(present, target, torch.nan if target.is_floating_point() else -1)
