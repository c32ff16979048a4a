"""Heads that answer for each cell of a grid over the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.config import PositiveInt
from hybridvit.layers.dense import DenseNeck
from hybridvit.tasks.base import BaseTaskConfig

POINT_STRIDE = 4  # pixels: what heat maps have in most papers


class DenseTaskConfig(BaseTaskConfig):
    """What the configurations of tasks with a dense head share; other fields as in :class:`BaseTaskConfig`.

    Attributes:
        stride: of the predicted grid, in pixels; None: chosen by the feature maps.
        width: channels of the head's joined feature map.
    """

    stride: PositiveInt | None = None
    width: PositiveInt = 128


class DenseHead(nn.Module):
    """Feature maps joined in one, then a linear layer of each cell.

    Args:
        spec: the features it reads.
        outputs: numbers it answers with for each cell.
        width: channels of the joined map.
        stride: of the grid, in pixels; None: that of the finest map of at least 4, or the finest.

    Raises:
        ValueError: fewer than one output, or no feature map to read.
    """

    def __init__(self, spec: FeatureSpec, outputs: int, width: int = 128, stride: int | None = None) -> None:
        super().__init__()
        if outputs < 1:
            raise ValueError(f"a head needs at least 1 output, given {outputs}")
        self.neck = DenseNeck(spec.map_channels, width, stride)
        self.out = nn.Conv2d(width, outputs, 1)
        nn.init.xavier_uniform_(self.out.weight)
        self.out.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, outputs, gh, gw]``."""
        out: Tensor = self.out(self.neck(features.maps))
        return out


def point_stride(spec: FeatureSpec, stride: int | None) -> int | None:
    """The stride of heat maps: as asked, else 4, however coarse the maps are; where all are finer, the coarsest's."""
    if stride is not None or not spec.map_channels:
        return stride
    return min(POINT_STRIDE, max(spec.map_channels))
