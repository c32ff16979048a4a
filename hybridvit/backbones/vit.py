"""The vision transformer with five sockets: tokenizer, position, attention, feed-forward, pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from pydantic import BeforeValidator
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, Embedded, Features, FeatureSpec
from hybridvit.backbones.tokenizer_kinds import TokenizerConfig
from hybridvit.config import Config, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, plain, runs_in_words
from hybridvit.layers.attention import Attention
from hybridvit.layers.attention_kinds import ATTENTION, POSITIONAL, AttentionKind
from hybridvit.layers.block import Block
from hybridvit.layers.class_attention import ClassAttentionBlock
from hybridvit.layers.feedforward_kinds import FEEDFORWARD, FeedForwardKind
from hybridvit.layers.initialisation import init_mimetic
from hybridvit.layers.positions import POSITION, NoPosition, PositionKind
from hybridvit.layers.psa import PSA, check_heads
from hybridvit.layers.relative import RelativeBias
from hybridvit.layers.tokenizers.base import Tokenizer
from hybridvit.layers.tokenizers.patch import PatchConfig


def as_tuple(kind: Any) -> Any:
    """One kind for all blocks may be given alone."""
    return (kind,) if isinstance(kind, str) else plain(kind)


class ViTConfig(Config):
    """A vision transformer; a paper is a choice of these fields.

    Attributes:
        embed_dim: width of the tokens.
        depth: number of blocks.
        num_heads: attention heads of every block.
        mlp_ratio: hidden width of the feed-forward part, as a multiple of embed_dim.
        tokenizer: socket 1, how an image becomes tokens.
        position: socket 2, how tokens know where they are: an embedding at the input, or a learned relative
            bias on the scores of every attention but GPSA and PSA, which have their own.
        position_dim: how many of the embed_dim channels hold the position, beside the tokens' own;
            0: the position is added to all of them.
        attention: socket 3, one kind for all blocks or one for each block.
        feedforward: socket 4, the part that follows attention in every block: for every token alone, or
            with a depthwise convolution over the grid.
        pooling: socket 5, how the tokens become one vector.
        class_token_layer: block before which the class token enters (pooling "cls").
        class_attention_depth: class-attention blocks after the others (pooling "class_attention").
        distilled: a distillation token with a head of its own beside the class token (DeiT, arXiv 2012.12877).
        qkv_bias: whether the query, key and value projections have a bias.
        qk_norm: layer norm of queries and keys in every head (arXiv 2302.05442), class attention apart.
        qk_scale: what q · k is multiplied by, class attention apart; None: 1 / √(width of a head).
        layer_scale: initial value of LayerScale (CaiT, arXiv 2103.17239); None: without.
        mlp_residual: what the feed-forward branch is added to: its "input", or that input "normalised" (CCT).
        norm_eps: what the layer norms add to the variance.
        initialisation: "default", every layer as in its paper, GPSA and PSA as a convolution; "random", these two at
            random as well; "mimetic", the other attentions like those of trained models (arXiv 2305.09828).
        locality_strength: α of that convolutional initialisation.
        drop_path: stochastic depth of the last block; grows linearly from 0 at the first.
        dropout: share of activations dropped after the embedding and in the feed-forward parts.
    """

    kind: Literal["vit"] = "vit"
    embed_dim: PositiveInt = 192
    depth: PositiveInt = 12
    num_heads: PositiveInt = 3
    mlp_ratio: PositiveFloat = 4.0
    tokenizer: TokenizerConfig = PatchConfig()
    position: PositionKind = "learned"
    position_dim: NonNegativeInt = 0
    attention: Annotated[tuple[AttentionKind, ...], BeforeValidator(as_tuple)] = ("mhsa",)
    feedforward: FeedForwardKind = "mlp"
    pooling: Literal["cls", "mean", "seq", "class_attention"] = "cls"
    class_token_layer: NonNegativeInt = 0
    class_attention_depth: PositiveInt = 2
    distilled: bool = False
    qkv_bias: bool = True
    qk_norm: bool = False
    qk_scale: PositiveFloat | None = None
    layer_scale: PositiveFloat | None = None
    mlp_residual: Literal["input", "normalised"] = "input"
    norm_eps: PositiveFloat = 1e-6
    initialisation: Literal["default", "random", "mimetic"] = "default"
    locality_strength: PositiveFloat = 1.0
    drop_path: Fraction = 0.0
    dropout: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if self.drop_path and self.depth == 1:
            raise ValueError(
                f"drop_path {self.drop_path} has no effect with depth 1: it grows from 0 at the first block"
            )
        self._check_position()
        self._check_attention()
        self._check_pooling()

    def _check_position(self) -> None:
        if self.position_dim >= self.embed_dim:
            raise ValueError(f"position_dim must lie in 0 .. {self.embed_dim - 1}, given {self.position_dim}")
        if self.position_dim and self.position in ("none", "relative"):
            raise ValueError(f"position_dim {self.position_dim} has no effect with position {self.position}")
        width = self.position_dim or self.embed_dim
        if self.position == "sincos2d" and width % 4:
            name = "a position_dim" if self.position_dim else "an embed_dim"
            raise ValueError(f"position sincos2d needs {name} divisible by 4, given {width}")
        if self.position == "relative" and set(self.attention) <= set(POSITIONAL):
            raise ValueError("position relative has no effect where every block has its own positions (gpsa, psa)")

    def _check_attention(self) -> None:
        if len(self.attention) not in (1, self.depth):
            raise ValueError(
                f"attention names one kind for all blocks or one for each of the {self.depth} blocks (depth), "
                f"given {len(self.attention)}"
            )
        on_grid = [index for index, kind in enumerate(self.layer_attention) if kind in POSITIONAL]
        if on_grid:
            check_heads(self.num_heads)
        if on_grid and self.pooling == "cls" and on_grid[-1] >= self.class_token_layer:
            raise ValueError(
                f"the class token must enter after the last block of {' or '.join(POSITIONAL)}: given "
                f"class_token_layer {self.class_token_layer}, block {on_grid[-1]} is "
                f"{self.layer_attention[on_grid[-1]]} (or choose pooling mean)"
            )
        without = f"without {' or '.join(POSITIONAL)}"
        if self.initialisation == "random" and not on_grid:
            raise ValueError(f"initialisation random has no effect {without}: it is the default of every other layer")
        if self.locality_strength != 1 and (not on_grid or self.initialisation == "random"):
            why = "with initialisation random" if on_grid else without
            raise ValueError(f"locality_strength {self.locality_strength} has no effect {why}")
        if self.initialisation == "mimetic" and len(on_grid) == self.depth:
            raise ValueError(f"initialisation mimetic has no effect where every block is {' or '.join(POSITIONAL)}")

    def _check_pooling(self) -> None:
        if self.pooling == "cls" and self.class_token_layer >= self.depth:
            raise ValueError(f"class_token_layer must lie in 0 .. {self.depth - 1}, given {self.class_token_layer}")
        if self.pooling != "cls" and self.class_token_layer:
            raise ValueError(f"class_token_layer {self.class_token_layer} has no effect with pooling {self.pooling}")
        if self.pooling != "class_attention" and self.class_attention_depth != 2:
            raise ValueError(
                f"class_attention_depth {self.class_attention_depth} has no effect with pooling {self.pooling}"
            )
        if self.distilled and self.pooling != "cls":
            raise ValueError(f"a distillation token goes with pooling cls, given {self.pooling}")

    @property
    def layer_attention(self) -> tuple[AttentionKind, ...]:
        """The kind of attention of every block."""
        return self.attention * self.depth if len(self.attention) == 1 else self.attention

    @property
    def prefix_tokens(self) -> int:
        """Number of prefix tokens: class token, distillation token."""
        return (1 + self.distilled) if self.pooling in ("cls", "class_attention") else 0

    def build(self, image_size: tuple[int, int], in_channels: int) -> ViT:
        """The transformer for images of this height and width, in pixels, randomly initialised.

        Raises:
            ValueError: the images and the tokenizer do not fit together.
        """
        return ViT(self, self.tokenizer.build(in_channels, self.embed_dim - self.position_dim, image_size), image_size)

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        pooling = {
            "cls": "cls" + (f" at {self.class_token_layer}" if self.class_token_layer else ""),
            "class_attention": f"class_attention x{self.class_attention_depth}",
        }.get(self.pooling, self.pooling)
        return {
            "tokenizer": self.tokenizer.describe(),
            "position": f"{self.position} beside {self.position_dim}" if self.position_dim else self.position,
            "attention": runs_in_words(self.layer_attention),
            "feedforward": f"{self.feedforward} x{self.mlp_ratio:g}",
            "pooling": pooling + (" + distilled" if self.distilled else ""),
        }

    def block(self, index: int, grid: tuple[int, int]) -> Block:
        """One of the blocks, for tokens on this grid."""
        prefix = self.pooling == "cls" and index >= self.class_token_layer
        hidden = round(self.embed_dim * self.mlp_ratio)
        return Block(
            self.embed_dim,
            self.attention_layer(index, grid),
            FEEDFORWARD[self.feedforward](self.embed_dim, hidden, self.dropout, prefix),
            drop_path=self.drop_path * index / max(self.depth - 1, 1),
            layer_scale=self.layer_scale,
            mlp_residual=self.mlp_residual,
            norm_eps=self.norm_eps,
        )

    def attention_layer(self, index: int, grid: tuple[int, int]) -> Attention:
        """The attention of one of the blocks."""
        layer = ATTENTION[self.layer_attention[index]]
        dim, heads, norm, scale = self.embed_dim, self.num_heads, self.qk_norm, self.qk_scale
        if issubclass(layer, PSA):
            strength = None if self.initialisation == "random" else self.locality_strength
            return layer(dim, heads, self.qkv_bias, qk_norm=norm, qk_scale=scale, locality_strength=strength)
        bias = RelativeBias(heads, grid) if self.position == "relative" else None
        attention = layer(dim, heads, self.qkv_bias, qk_norm=norm, qk_scale=scale, bias=bias)
        if self.initialisation == "mimetic":
            init_mimetic(attention.qkv, attention.proj, heads)
        return attention

    def class_block(self) -> ClassAttentionBlock:
        """One of the class-attention blocks."""
        hidden = round(self.embed_dim * self.mlp_ratio)
        return ClassAttentionBlock(
            self.embed_dim, self.num_heads, hidden, self.qkv_bias, self.layer_scale, self.norm_eps
        )


class ViT(Backbone):
    """A :class:`ViTConfig` as a module, which runs its parts in order.

    Args:
        config: what to build.
        tokenizer: images to tokens.
        image_size: height and width of the images, in pixels.

    Raises:
        ValueError: the images and the tokenizer do not fit together.
    """

    stem_parts = ("tokenizer", "position")

    def __init__(self, config: ViTConfig, tokenizer: Tokenizer, image_size: tuple[int, int]) -> None:
        super().__init__()
        grid, stride = tokenizer.grid(*image_size), tokenizer.stride
        self.spec = FeatureSpec(
            embed_dim=config.embed_dim,
            grid=grid,
            prefix_tokens=config.prefix_tokens,
            pooling="cls" if config.pooling == "class_attention" else config.pooling,
            map_channels={**tokenizer.map_channels, stride: config.embed_dim},
            distilled=config.distilled,
        )
        self.in_channels, self.stride = tokenizer.in_channels, stride
        # The order in which random initial values are drawn is a promise to seeded runs.
        blocks = [config.block(index, grid) for index in range(config.depth)]
        width, concat = config.position_dim or config.embed_dim, config.position_dim > 0
        first = config.prefix_tokens if config.pooling == "cls" and config.class_token_layer == 0 else 0
        self.tokenizer = tokenizer
        position = POSITION.get(config.position)
        self.position = position(width, grid, concat, first) if position else NoPosition()
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(blocks)
        class_depth = config.class_attention_depth if config.pooling == "class_attention" else 0
        self.class_blocks = nn.ModuleList(config.class_block() for _ in range(class_depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        # The block before which the prefix tokens enter; class attention keeps them apart from the sequence.
        self.entry = config.class_token_layer if config.prefix_tokens and not class_depth else -1
        self.prefix = None
        if config.prefix_tokens:
            self.prefix = nn.Parameter(torch.zeros(config.prefix_tokens, config.embed_dim))
            nn.init.trunc_normal_(self.prefix, std=0.02)

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`, normalised by the last layer norm."""
        return self.encode(*self.embed(images))

    def encode(self, x: Tensor, grid: tuple[int, int], maps: Mapping[int, Tensor]) -> Features:
        """What :meth:`embed` gives -> :class:`Features`."""
        for index, block in enumerate(self.blocks):
            if index == self.entry:
                x = self.with_prefix(x)
            x = self.run_layer(block, x, grid)
        if self.class_blocks:
            x = self.with_prefix(x)
            token, tokens = x[:, :1], x[:, 1:]
            for block in self.class_blocks:
                token = self.run_layer(block, token, tokens)
            x = torch.cat([token, tokens], dim=1)
        x = self.norm(x)
        prefix, tokens = x[:, : self.spec.prefix_tokens], x[:, self.spec.prefix_tokens :]
        image = rearrange(tokens, "b (gh gw) d -> b d gh gw", gh=grid[0])
        return Features(tokens, prefix, grid, {**maps, self.stride: image})

    def embed(self, images: Tensor) -> Embedded:
        """images -> tokens that know where they are, their grid, and the maps of a CNN before them."""
        self.check_images(images)
        tokens, grid, maps = self.tokenizer.with_maps(images)
        # A convolution's map has its channels first; every layer after it would copy, were it not done here once.
        return Embedded(self.drop(self.position(tokens, grid)).contiguous(), grid, maps)

    def with_prefix(self, x: Tensor) -> Tensor:
        """``[b, n, d]`` with the prefix tokens put first, ``[b, p + n, d]``."""
        if self.prefix is None:
            return x
        return torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], dim=1)

    def layer_features(self, images: Tensor) -> list[Features]:
        x, grid, _ = self.embed(images)
        layers, prefix = [], 0
        for index, block in enumerate(self.blocks):
            if index == self.entry:
                x, prefix = self.with_prefix(x), self.spec.prefix_tokens
            x = self.run_layer(block, x, grid)
            layers.append(Features(x[:, prefix:], x[:, :prefix], grid, {}))
        return layers

    def final_norm(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def parameter_layers(self) -> list[tuple[str, ...]]:
        blocks = [(f"blocks.{index}",) for index in range(len(self.blocks))]
        return [("tokenizer", "position", "prefix"), *blocks, ("class_blocks", "norm")]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        super().set_grad_checkpointing(enable)
        if isinstance(self.tokenizer, Tokenizer):  # a trunk of several cameras has lost it to their stems
            self.tokenizer.set_grad_checkpointing(enable)
