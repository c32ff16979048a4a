"""Feed-forward parts of a transformer block."""

from __future__ import annotations

from torch import Tensor, nn

from hybridvit.layers.initialisation import linear


class MLP(nn.Module):
    """Linear, GELU, linear, for every token alone (ViT, arXiv 2010.11929, §3.1).

    Args:
        dim: width of the tokens.
        hidden_dim: width in between, in the papers 4·dim.
        dropout: share of activations dropped after each of the two layers.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = linear(hidden_dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` -> ``[b, n, dim]``; the grid is not used."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
