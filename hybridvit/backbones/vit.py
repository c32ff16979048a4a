"""The vision transformer with five sockets: tokenizer, position, attention, feed-forward, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, Features, FeatureSpec, Pooling
from hybridvit.layers.block import NORM_EPS, Block
from hybridvit.layers.gpsa import check_heads
from hybridvit.layers.positions import LearnedPosition, NoPosition, SinCosPosition
from hybridvit.layers.tokenizers import ConvTokenizer, PatchTokenizer

AttentionKind = Literal["mhsa", "gpsa"]


@dataclass(frozen=True)
class PatchConfig:
    """Tokenizer of non-overlapping patches.

    Attributes:
        patch_size: side of a patch, in pixels.
    """

    kind: Literal["patch"] = "patch"
    patch_size: int = 16

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, given {self.patch_size}")


@dataclass(frozen=True)
class ConvConfig:
    """Tokenizer of 3x3 convolutions.

    Attributes:
        channels: width of each convolution.
        strides: stride of each convolution.
    """

    kind: Literal["conv"] = "conv"
    channels: tuple[int, ...] = (64, 128, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(f"one stride for each convolution: channels {self.channels}, strides {self.strides}")
        if min(self.channels + self.strides) < 1:
            raise ValueError(f"channels and strides must be positive: channels {self.channels}, strides {self.strides}")


@dataclass(frozen=True)
class ViTConfig:
    """A vision transformer; a paper is a choice of these fields.

    Attributes:
        embed_dim: width of the tokens.
        depth: number of blocks.
        num_heads: attention heads of every block.
        mlp_ratio: hidden width of the feed-forward part, as a multiple of embed_dim.
        tokenizer: socket 1, how an image becomes tokens.
        position: socket 2, what is added to the tokens to say where they are.
        attention: socket 3, one kind for all blocks or one for each block.
        feedforward: socket 4, the part that follows attention in every block.
        pooling: socket 5, how the tokens become one vector.
        class_token_layer: block before which the class token enters (pooling "cls").
        qkv_bias: whether the query, key and value projections have a bias.
        locality_strength: α of GPSA's convolutional start.
        drop_path: stochastic depth of the last block; grows linearly from 0 at the first.
        dropout: share of activations dropped after the embedding and in the feed-forward parts.
    """

    kind: Literal["vit"] = "vit"
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 3
    mlp_ratio: float = 4.0
    tokenizer: PatchConfig | ConvConfig = PatchConfig()
    position: Literal["learned", "sincos2d", "none"] = "learned"
    attention: tuple[AttentionKind, ...] = ("mhsa",)
    feedforward: Literal["mlp"] = "mlp"
    pooling: Pooling = "cls"
    class_token_layer: int = 0
    qkv_bias: bool = True
    locality_strength: float = 1.0
    drop_path: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, given {getattr(self, name)}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if self.position == "sincos2d" and self.embed_dim % 4:
            raise ValueError(f"position sincos2d needs an embed_dim divisible by 4, given {self.embed_dim}")
        if len(self.attention) not in (1, self.depth):
            raise ValueError(
                f"attention names one kind for all blocks or one for each of the {self.depth} blocks (depth), "
                f"given {len(self.attention)}"
            )
        for name, value in (("drop_path", self.drop_path), ("dropout", self.dropout)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), given {value}")
        if self.pooling == "cls" and not 0 <= self.class_token_layer < self.depth:
            raise ValueError(f"class_token_layer must lie in 0 .. {self.depth - 1}, given {self.class_token_layer}")
        if self.pooling != "cls" and self.class_token_layer:
            raise ValueError(f"class_token_layer {self.class_token_layer} has no effect with pooling {self.pooling}")
        if "gpsa" in self.attention:
            check_heads(self.num_heads)
            last = max(i for i, kind in enumerate(self.layer_attention) if kind == "gpsa")
            if self.pooling == "cls" and last >= self.class_token_layer:
                raise ValueError(
                    f"the class token must enter after the last GPSA block: given class_token_layer "
                    f"{self.class_token_layer}, block {last} is GPSA (or choose pooling mean)"
                )

    @property
    def layer_attention(self) -> tuple[AttentionKind, ...]:
        """The kind of attention of every block."""
        return self.attention * self.depth if len(self.attention) == 1 else self.attention


class ViT(Backbone):
    """Runs its parts in order; made by ``build.py`` from a :class:`ViTConfig`.

    Args:
        tokenizer: images to tokens.
        position: tokens and grid to tokens that know where they are.
        blocks: transformer blocks.
        embed_dim: width of the tokens.
        grid: rows and columns at the image size it is built for.
        pooling: how heads should summarise the tokens.
        class_token_layer: block before which the class token enters; no class token unless pooling is "cls".
        dropout: share of activations dropped after the position embedding.
    """

    def __init__(
        self,
        tokenizer: PatchTokenizer | ConvTokenizer,
        position: LearnedPosition | SinCosPosition | NoPosition,
        blocks: Sequence[Block],
        *,
        embed_dim: int,
        grid: tuple[int, int],
        pooling: Pooling,
        class_token_layer: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = tokenizer.in_channels
        self.tokenizer = tokenizer
        self.position = position
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.class_token_layer = class_token_layer
        prefix_tokens = 1 if pooling == "cls" else 0
        self.prefix = nn.Parameter(torch.zeros(prefix_tokens, embed_dim)) if prefix_tokens else None
        if self.prefix is not None:
            nn.init.trunc_normal_(self.prefix, std=0.02)
        self.spec = FeatureSpec(embed_dim, grid, prefix_tokens, pooling, {tokenizer.stride: embed_dim})

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`, normalised by the last layer norm."""
        self.check_images(images)
        tokens, grid = self.tokenizer(images)
        x = self.drop(self.position(tokens, grid))
        for index, block in enumerate(self.blocks):
            if self.prefix is not None and index == self.class_token_layer:
                x = torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1)
            x = block(x, grid)
        x = self.norm(x)
        prefix, tokens = x[:, : self.spec.prefix_tokens], x[:, self.spec.prefix_tokens :]
        image = tokens.transpose(1, 2).unflatten(2, grid)
        return Features(tokens, prefix, grid, {self.tokenizer.stride: image})
