"""The vision transformer with five sockets: tokenizer, position, attention, feed-forward, pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, Embedded, Features, FeatureSpec
from hybridvit.backbones.hybrid import StagesTokenizer
from hybridvit.layers.block import Block
from hybridvit.layers.class_attention import ClassAttentionBlock


class ViT(Backbone):
    """Runs its parts in order; made by ``build`` from a :class:`ViTConfig`.

    Args:
        tokenizer: images to tokens, with attributes ``in_channels`` and ``stride``.
        position: tokens and grid to tokens that know where they are.
        blocks: transformer blocks.
        class_blocks: blocks that update only the class token, after the others.
        spec: what it declares to heads; its maps are those of the tokenizer and of the tokens.
        class_token_layer: block before which the prefix tokens enter, if there are no class blocks.
        dropout: share of activations dropped after the position embedding.
        norm_eps: what the last layer norm adds to the variance.
    """

    stem_parts = ("tokenizer", "position")

    def __init__(
        self,
        tokenizer: nn.Module,
        position: nn.Module,
        blocks: Sequence[Block],
        class_blocks: Sequence[ClassAttentionBlock],
        spec: FeatureSpec,
        *,
        class_token_layer: int = 0,
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels = int(tokenizer.in_channels)  # type: ignore[arg-type]
        self.tokenizer = tokenizer
        self.stride = int(tokenizer.stride)  # type: ignore[arg-type]
        self.position = position
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.class_blocks = nn.ModuleList(class_blocks)
        self.norm = nn.LayerNorm(spec.embed_dim, eps=norm_eps)
        # Where the prefix tokens enter the sequence; class attention keeps them apart from it.
        self.entry = class_token_layer if spec.prefix_tokens and not self.class_blocks else -1
        self.prefix = nn.Parameter(torch.zeros(spec.prefix_tokens, spec.embed_dim)) if spec.prefix_tokens else None
        if self.prefix is not None:
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
        image = tokens.transpose(1, 2).unflatten(2, grid)
        return Features(tokens, prefix, grid, {**maps, self.stride: image})

    def embed(self, images: Tensor) -> Embedded:
        """images -> tokens that know where they are, their grid, and the maps of a CNN before them."""
        self.check_images(images)
        maps: Mapping[int, Tensor] = {}
        if isinstance(self.tokenizer, StagesTokenizer):
            tokens, grid, maps = self.tokenizer.with_maps(images)
        else:
            tokens, grid = self.tokenizer(images)
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
        if isinstance(self.tokenizer, StagesTokenizer):
            self.tokenizer.cnn.set_grad_checkpointing(enable)
