"""Heads that answer with one vector for each image."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.config import PositiveInt
from hybridvit.layers.initialisation import linear
from hybridvit.layers.pooling import ClassTokenPool, MeanPool, SequencePool
from hybridvit.tasks.base import BaseTaskConfig

HeadPooling = Literal["auto", "mean", "seq"]


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
