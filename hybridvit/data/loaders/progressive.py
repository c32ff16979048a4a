"""Smaller images early in training: progressive resizing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from math import ceil
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from hybridvit.config import Config, Fraction, PositiveInt
from hybridvit.data.augment.transforms import PLACED
from hybridvit.data.batch import Batch
from hybridvit.data.samples import Column

Sizes = tuple[tuple[Fraction, PositiveInt], ...]


class ProgressiveConfig(Config):
    """How large training images are over a run (cf. EfficientNetV2, arXiv 2104.00298, §4); evaluation sees all pixels.

    Attributes:
        sizes: (share of the steps from which it holds, shorter side of the images in pixels), the first from 0 on, as
            in ((0.0, 16), (0.35, 24), (0.7, 32)); (): as large as they are.
    """

    sizes: Sizes = ()

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.sizes]
        if shares and shares[0] != 0:
            raise ValueError(f"sizes must begin with the share 0.0, given {shares[0]}")
        if shares != sorted(set(shares)):
            raise ValueError(f"the shares of sizes must rise, given {shares}")

    def check(self, shapes: Mapping[str, tuple[int, int, int]], columns: Mapping[str, Column]) -> None:
        """Refuses data whose images cannot be shown smaller.

        Args:
            shapes: channels, height and width of each view.
            columns: what the targets hold.

        Raises:
            ValueError: there are several views, or targets that are places in the image, or a side is larger than
                the images are.
        """
        if not self.sizes:
            return
        if len(shapes) > 1:
            raise ValueError(f"sizes is for images of one camera, and there are {len(shapes)}: {', '.join(shapes)}")
        for name, column in columns.items():
            if column.kind in PLACED:
                raise ValueError(f"sizes would move images away from their {column.kind}, column {name!r}")
        (shape,) = shapes.values()
        largest = max(side for _, side in self.sizes)
        if largest > min(shape[1:]):
            raise ValueError(f"sizes must not exceed the images' shorter side of {min(shape[1:])}, given {largest}")


class Source(Protocol):
    """A batch for every step."""

    def batch(self, step: int) -> Batch: ...


class Progressive:
    """Batches of another source with images as large as the step wants them.

    Args:
        source: batches of one view.
        sizes: as in :class:`ProgressiveConfig`, not empty.
        steps: number of steps of the run.
    """

    def __init__(self, source: Source, sizes: Sizes, steps: int) -> None:
        self.source = source
        self.sides = [side for _, side in sizes]
        self.begins = [ceil(share * steps - 1e-9) for share, _ in sizes]  # first steps with that share behind them

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        batch = self.source.batch(step)
        return batch._replace(images=shrunk(batch.images, self.side(step)))

    def side(self, step: int) -> int:
        """The shorter side of this step's images, in pixels."""
        return self.sides[bisect_right(self.begins, step) - 1]


def shrunk(images: Tensor, side: int) -> Tensor:
    """Images ``[b, c, h, w]`` with a shorter side of ``side`` pixels: bilinear, antialiased, the aspect kept."""
    height, width = images.shape[-2:]
    short = min(height, width)
    if side == short:
        return images
    size = (round(height * side / short), round(width * side / short))
    return F.interpolate(images, size, mode="bilinear", antialias=True)
