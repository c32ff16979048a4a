"""Heads that answer with one vector for each image, or for each cell of a grid over it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.config import PositiveInt
from hybridvit.layers.dense import DenseNeck
from hybridvit.layers.initialisation import linear
from hybridvit.layers.pooling import ClassTokenPool, MeanPool, SequencePool
from hybridvit.tasks.base import BaseTaskConfig

HeadPooling = Literal["auto", "mean", "seq"]
POINT_STRIDE = 4  # pixels: what heat maps have in most papers


class VectorTaskConfig(BaseTaskConfig):
    """What the configurations of tasks with a vector head share; other fields as in :class:`BaseTaskConfig`.

    Attributes:
        pooling: how tokens become one vector: "auto", as the backbone asks, or "mean" or "seq" of the patch tokens.
        hidden: width of a GELU layer before the last, for a head trained on a frozen trunk; None: no such layer.
    """

    pooling: HeadPooling = "auto"
    hidden: PositiveInt | None = None


class VectorHead(nn.Module):
    """Pools the tokens, then one linear layer.

    Args:
        spec: the features it reads.
        outputs: numbers it answers with.
        pooling: "auto", as the backbone asks; "mean" or "seq" of the patch tokens, whatever the backbone asks.
        hidden: width of a GELU layer before the last; None: no such layer.

    Raises:
        ValueError: fewer than one output.
    """

    def __init__(
        self, spec: FeatureSpec, outputs: int, pooling: HeadPooling = "auto", hidden: int | None = None
    ) -> None:
        super().__init__()
        if outputs < 1:
            raise ValueError(f"a head needs at least 1 output, given {outputs}")
        self.pool = _pool(spec, pooling)
        self.hidden = hidden_layer(spec.embed_dim, hidden)
        self.fc = linear(hidden or spec.embed_dim, outputs)

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, outputs]``."""
        out: Tensor = self.fc(self.hidden(self.pool(features.tokens, features.prefix)))
        return out


def hidden_layer(dim: int, hidden: int | None) -> nn.Module:
    """A linear layer and GELU, ``[b, dim]`` -> ``[b, hidden]``; None: nothing at all."""
    return nn.Identity() if hidden is None else nn.Sequential(linear(dim, hidden), nn.GELU())


def _pool(spec: FeatureSpec, pooling: HeadPooling) -> ClassTokenPool | MeanPool | SequencePool:
    chosen = spec.pooling if pooling == "auto" else pooling
    if chosen == "seq":
        return SequencePool(spec.embed_dim)
    return ClassTokenPool() if chosen == "cls" else MeanPool()


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
