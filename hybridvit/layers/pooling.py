"""How the tokens of an image become one vector."""

from __future__ import annotations

from torch import Tensor, nn

from hybridvit.layers.initialisation import linear


class ClassTokenPool(nn.Module):
    """The first prefix token (ViT, arXiv 2010.11929, eq. 4)."""

    def forward(self, tokens: Tensor, prefix: Tensor) -> Tensor:
        """tokens ``[b, n, d]``, prefix ``[b, p, d]`` with p ≥ 1 -> ``[b, d]``."""
        return prefix[:, 0]


class MeanPool(nn.Module):
    """The mean of the patch tokens."""

    def forward(self, tokens: Tensor, prefix: Tensor) -> Tensor:
        """tokens ``[b, n, d]``, prefix ``[b, p, d]`` (not used) -> ``[b, d]``."""
        return tokens.mean(dim=1)


class SequencePool(nn.Module):
    """A learned weighted mean of the patch tokens (CCT, arXiv 2104.05704, eq. 4-6).

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = linear(dim, 1)

    def forward(self, tokens: Tensor, prefix: Tensor) -> Tensor:
        """tokens ``[b, n, d]``, prefix ``[b, p, d]`` (not used) -> ``[b, d]``."""
        share = self.score(tokens).softmax(dim=1)
        return (share.transpose(1, 2) @ tokens).squeeze(1)
