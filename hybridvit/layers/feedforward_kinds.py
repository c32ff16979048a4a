"""The feed-forward parts that a block may have: each kind once, by its name."""

from typing import Literal

from hybridvit.layers.feedforward import MLP, ConvFeedForward

FeedForwardKind = Literal["mlp", "conv"]

FEEDFORWARD: dict[FeedForwardKind, type[MLP] | type[ConvFeedForward]] = {"mlp": MLP, "conv": ConvFeedForward}
