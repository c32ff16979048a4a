"""A batch as training sees it, whatever the data came from."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images and their targets.

    Attributes:
        images: ``[b, c, h, w]`` floats, normalised.
        targets: target column -> ``[b, ...]``; -1 (classes) or NaN (real values) where a label is missing.
    """

    images: Tensor
    targets: dict[str, Tensor]
