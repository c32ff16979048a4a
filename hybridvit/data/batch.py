"""A batch as training sees it, whatever the data came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images and their targets.

    Attributes:
        images: ``[b, c, h, w]`` floats, normalised; with several cameras a mapping view name -> images.
        targets: target column -> ``[b, ...]``, as data's ``Column`` says, but masks int64 with -1 where there is no label.
        present: view name -> ``[b]`` bool, whether the sample has that view; None: one view, always there.
    """

    images: Tensor | Mapping[str, Tensor]
    targets: dict[str, Tensor]
    present: Mapping[str, Tensor] | None = None
