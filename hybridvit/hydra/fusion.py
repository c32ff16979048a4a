"""Several cameras become one: queries that attend to the tokens of all of them at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.layers.attention import merge_heads, no_autocast
from hybridvit.layers.block import NORM_EPS
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.initialisation import linear


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

    def forward(self, x: Tensor, tokens: Tensor, there: Tensor | None) -> Tensor:
        """x ``[b, q, dim]``, tokens ``[b, n, dim]``, which of them are there ``[b, n]`` bool -> ``[b, q, dim]``."""
        q = self.q(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(tokens).unflatten(-1, (2, self.num_heads, -1)).transpose(1, 3).unbind(2)
        mask = None if there is None else there[:, None, None, :]
        # Exact for every dtype: all of torch's kernels keep the softmax in fp32.
        with no_autocast(v.device.type):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(merge_heads(out))


class CrossBlock(nn.Module):
    """x + attention(norm(x), ...), then x + MLP(norm(x)).

    Args:
        dim: width of the queries.
        attention: what they look at the cameras with.
        hidden_dim: width in between of the MLP.
    """

    def __init__(self, dim: int, attention: nn.Module, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feedforward = MLP(dim, hidden_dim)

    def forward(self, x: Tensor, *seen: Tensor | list[Tensor] | None) -> Tensor:
        """queries ``[b, q, dim]`` and what the attention takes beside them -> queries."""
        x = x + self.attention(self.norm1(x), *seen)
        out: Tensor = x + self.feedforward(self.norm2(x))
        return out


class AttentionFusion(nn.Module):
    """Learned queries attend to the tokens of all cameras, each with a learned embedding of its camera and cell.

    The queries are the cells of a grid, so that heads for maps can read them. Where a camera hangs is not told but
    learned: :class:`~hybridvit.hydra.bev.BEVFusion` is for rigs whose geometry is known.

    Args:
        grids: view name -> rows and columns of its tokens.
        in_dim: width of the cameras' tokens.
        dim: width of queries and result.
        grid: rows and columns of the queries.
        num_heads: number of heads.
        depth: number of blocks.
        hidden_dim: width in between of the MLPs.
    """

    def __init__(
        self,
        grids: Mapping[str, tuple[int, int]],
        in_dim: int,
        dim: int,
        grid: tuple[int, int],
        num_heads: int,
        depth: int,
        hidden_dim: int,
    ) -> None:
        super().__init__()
        self.spec = FeatureSpec(dim, grid, 0, "mean", {1: dim})
        self.rows = token_rows(grids)
        self.feature = nn.Sequential(nn.LayerNorm(in_dim, eps=NORM_EPS), linear(in_dim, dim))
        self.embedding = nn.Parameter(torch.randn(sum(r * c for r, c in grids.values()), dim) * dim**-0.5)
        self.position = nn.Parameter(torch.randn(grid[0] * grid[1], dim) * dim**-0.5)  # the queries
        self.blocks = nn.ModuleList(CrossBlock(dim, CrossAttention(dim, num_heads), hidden_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, tokens: Mapping[str, Tensor], there: Mapping[str, Tensor] | None = None) -> Features:
        """Tokens of some of the cameras -> the queries' Features.

        Args:
            tokens: view name -> ``[b, gh·gw, in_dim]``; finite also where the camera is not there.
            there: view name -> ``[b]`` bool, at least one camera in every sample; None: all.
        """
        embedding = torch.cat([self.embedding[self.rows[view]] for view in tokens])
        keys = self.feature(torch.cat(list(tokens.values()), dim=1)) + embedding
        seen = seen_tokens(tokens, there)
        x = self.position.expand(len(keys), -1, -1)
        for block in self.blocks:
            x = block(x, keys, seen)
        return fused_features(self.norm(x), self.spec)


def token_rows(grids: Mapping[str, tuple[int, int]]) -> dict[str, slice]:
    """Where the tokens of every camera stand in a table of all of them."""
    rows, start = {}, 0
    for view, (height, width) in grids.items():
        rows[view] = slice(start, start + height * width)
        start += height * width
    return rows


def seen_tokens(tokens: Mapping[str, Tensor], there: Mapping[str, Tensor] | None) -> Tensor | None:
    """Whether every token's camera is there, ``[b, n]`` bool for the n tokens of all cameras; None: all are."""
    if there is None:
        return None
    return torch.cat([there[view][:, None].expand(-1, x.shape[1]) for view, x in tokens.items()], dim=1)


def fused_features(x: Tensor, spec: FeatureSpec) -> Features:
    """Fused tokens ``[b, q, d]`` as Features of this spec, with a map at the grid's own resolution."""
    image = x.transpose(1, 2).unflatten(2, spec.grid)
    return Features(x, x[:, :0], spec.grid, {1: image})
