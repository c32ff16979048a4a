"""One transformer block around any attention and any feed-forward."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hybridvit.layers.attention import Attention

NORM_EPS = 1e-6


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)) (ViT, arXiv 2010.11929, eq. 2-3).

    Args:
        dim: width of the tokens.
        attention: maps ``[b, n, dim]`` and a grid to ``[b, n, dim]``.
        feedforward: the same, for every token alone or on the grid.
        drop_path: chance that a sample skips each branch (stochastic depth, arXiv 1603.09382).
        layer_scale: start value of a factor for every channel of both branches (CaiT, arXiv 2103.17239,
            eq. 3); None: no factors.
        mlp_residual: what the feed-forward branch is added to: its "input", or that input "normalised",
            as in the authors' code of CCT, CVT and ViT-Lite.
        norm_eps: what the layer norms add to the variance.
    """

    def __init__(
        self,
        dim: int,
        attention: Attention,
        feedforward: nn.Module,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        mlp_residual: Literal["input", "normalised"] = "input",
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.feedforward = feedforward
        self.scale1 = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.scale2 = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = StochasticDepth(drop_path, mode="row") if drop_path else nn.Identity()
        self.mlp_residual = mlp_residual

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x ``[b, p + gh·gw, dim]`` (p prefix tokens first) -> the same shape."""
        x = self._add(x, self.attention(self.norm1(x), grid), self.scale1)
        normed = self.norm2(x)
        branch = self.feedforward(normed, grid)
        return self._add(x if self.mlp_residual == "input" else normed, branch, self.scale2)

    def _add(self, x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
        branch = self.drop_path(branch)
        return x + branch if scale is None else torch.addcmul(x, branch, scale)
