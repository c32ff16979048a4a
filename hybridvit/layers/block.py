"""One pre-norm transformer block around any attention and any feed-forward."""

from __future__ import annotations

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
    """

    def __init__(self, dim: int, attention: Attention, feedforward: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feedforward = feedforward
        self.drop_path = StochasticDepth(drop_path, mode="row") if drop_path else nn.Identity()

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x ``[b, p + gh·gw, dim]`` (p prefix tokens first) -> the same shape."""
        x = x + self.drop_path(self.attention(self.norm1(x), grid))
        return x + self.drop_path(self.feedforward(self.norm2(x), grid))
