"""Several cameras become one: queries that attend to the tokens of all cameras at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.layers.attention import no_autocast
from hybridvit.layers.block import NORM_EPS
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.initialisation import linear

if TYPE_CHECKING:
    from hybridvit.hydra.views import ViewsConfig


class CrossAttention(nn.Module):
    """Attention of queries to the tokens of all cameras, with one softmax over camera and token.

    Args:
        dim: width of queries, keys and values; split evenly over the heads.
        num_heads: number of heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = linear(dim, dim)
        self.kv = linear(dim, 2 * dim)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """x ``[b, q, dim]``, tokens ``[b, n, dim]``, tokens that are present ``[b, n]`` bool -> ``[b, q, dim]``."""
        q = rearrange(self.q(x), "b q (h d) -> b h q d", h=self.num_heads)
        k, v = rearrange(self.kv(tokens), "b n (kv h d) -> kv b h n d", kv=2, h=self.num_heads)
        # Exact for every dtype: all of torch's kernels keep the softmax in fp32.
        with no_autocast(v.device.type):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])
        return self.proj(rearrange(out, "b h q d -> b q (h d)"))


class CrossBlock(nn.Module):
    """x + attention(norm(x), ...), then x + MLP(norm(x))."""

    def __init__(self, dim: int, attention: nn.Module, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feedforward = MLP(dim, hidden_dim)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """queries ``[b, q, dim]`` and the attention's further arguments -> queries."""
        x = x + self.attention(self.norm1(x), *context)
        out: Tensor = x + self.feedforward(self.norm2(x))
        return out


class Fusion(nn.Module):
    """Base of the fusions: the cells of a grid are queries that attend to the tokens of all cameras.

    A subclass makes its own parameters, then calls :meth:`add_blocks`.

    Args:
        config: width, grid, heads and depth.
        specs: view name -> the shapes of its features.

    Attributes:
        spec: the shapes of the fused features.
        rows: view name -> the rows of its tokens in a table of all cameras' tokens.
    """

    def __init__(self, config: ViewsConfig, specs: Mapping[str, FeatureSpec]) -> None:
        super().__init__()
        in_dim = next(iter(specs.values())).embed_dim
        ends = list(accumulate(math.prod(spec.grid) for spec in specs.values()))
        self.spec = FeatureSpec(config.embed_dim, config.grid, 0, "mean", {1: config.embed_dim})
        self.rows = {view: slice(start, end) for view, start, end in zip(specs, [0, *ends], ends, strict=False)}
        self.feature = nn.Sequential(nn.LayerNorm(in_dim, eps=NORM_EPS), linear(in_dim, config.embed_dim))

    def add_blocks(self, config: ViewsConfig, attention: Callable[[int, int], nn.Module]) -> None:
        """Adds the queries' initial values and the blocks; ``attention`` is made of width and number of heads."""
        dim, (rows, columns) = config.embed_dim, config.grid
        hidden = round(dim * config.mlp_ratio)
        self.position = nn.Parameter(torch.randn(rows * columns, dim) * dim**-0.5)
        self.blocks = nn.ModuleList(
            CrossBlock(dim, attention(dim, config.num_heads), hidden) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def context(self, tokens: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """What the attention takes between the queries and the mask."""
        raise NotImplementedError

    def forward(self, tokens: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Features:
        """Tokens of some of the cameras -> Features of the grid, with a map at its own resolution.

        Args:
            tokens: view name -> ``[b, gh·gw, in_dim]``; finite also where the camera is missing.
            present: view name -> ``[b]`` bool, at least one camera in every sample; None: all are present.
        """
        context, mask = self.context(tokens), None
        if present is not None:  # of every token [b, n], as its camera's
            mask = torch.cat([present[view][:, None].expand(-1, x.shape[1]) for view, x in tokens.items()], dim=1)
        x = self.position.expand(len(next(iter(tokens.values()))), -1, -1)
        for block in self.blocks:
            x = block(x, *context, mask)
        x = self.norm(x)
        image = rearrange(x, "b (gh gw) d -> b d gh gw", gh=self.spec.grid[0])
        return Features(x, x[:, :0], self.spec.grid, {1: image})


class AttentionFusion(Fusion):
    """Queries attend to the tokens of all cameras, each with a learned embedding of its camera and cell.

    The cameras' poses are learned, not given: :class:`~hybridvit.hydra.bev.BEVFusion` is for rigs of known geometry.
    """

    def __init__(self, config: ViewsConfig, specs: Mapping[str, FeatureSpec]) -> None:
        super().__init__(config, specs)
        tokens, dim = sum(math.prod(spec.grid) for spec in specs.values()), config.embed_dim
        self.embedding = nn.Parameter(torch.randn(tokens, dim) * dim**-0.5)
        self.add_blocks(config, CrossAttention)

    def context(self, tokens: Mapping[str, Tensor]) -> tuple[Tensor]:
        embedding = torch.cat([self.embedding[self.rows[view]] for view in tokens])
        return (self.feature(torch.cat(list(tokens.values()), dim=1)) + embedding,)
