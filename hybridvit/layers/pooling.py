"""How the tokens of an image become one vector."""

from __future__ import annotations

from torch import Tensor, nn


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
