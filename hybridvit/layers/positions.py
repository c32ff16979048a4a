"""Position embeddings added to the tokens of a grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sincos2d(dim: int, grid: tuple[int, int], temperature: float = 10_000.0) -> Tensor:
    """Fixed 2D sine-cosine embedding ``[gh·gw, dim]`` (MoCo v3, arXiv 2104.02057; as in big_vision).

    A quarter of the width each for sin x, cos x, sin y, cos y, with wavelengths from 2π to
    2π·temperature patches.

    Raises:
        ValueError: ``dim`` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"a 2D sin-cos embedding needs a width divisible by 4, given {dim}")
    frequency = temperature ** -torch.linspace(0, 1, dim // 4, dtype=torch.float64)
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    angles_x, angles_y = x.flatten()[:, None] * frequency, y.flatten()[:, None] * frequency
    return torch.cat([angles_x.sin(), angles_x.cos(), angles_y.sin(), angles_y.cos()], dim=1).float()


class LearnedPosition(nn.Module):
    """One learned vector per grid cell (ViT, arXiv 2010.11929, §3.1), resampled for another grid.

    Args:
        dim: width of the tokens.
        grid: rows and columns of the grid it is learned on.
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.embedding = nn.Parameter(torch.empty(grid[0] * grid[1], dim))
        nn.init.normal_(self.embedding, std=dim**-0.5)  # as in the authors' code: a vector of length 1

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens ``[b, gh·gw, dim]`` -> the same shape; another grid than the learned one: bicubic."""
        return tokens + (self.embedding if grid == self.grid else self.resampled(grid))

    def resampled(self, grid: tuple[int, int]) -> Tensor:
        """The embedding on another grid, ``[gh·gw, dim]``."""
        image = self.embedding.float().unflatten(0, self.grid).permute(2, 0, 1)[None]
        image = F.interpolate(image, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return image[0].flatten(1).T.to(self.embedding.dtype)


class SinCosPosition(nn.Module):
    """The fixed embedding of :func:`sincos2d`, for any grid.

    Args:
        dim: width of the tokens, divisible by 4.
        grid: rows and columns of the usual grid.
    """

    embedding: Tensor

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("embedding", sincos2d(dim, grid), persistent=False)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens ``[b, gh·gw, dim]`` -> the same shape."""
        embedding = self.embedding if grid == self.grid else sincos2d(self.embedding.shape[1], grid)
        return tokens + embedding.to(tokens)


class NoPosition(nn.Module):
    """Leaves the tokens as they are: only the tokenizer and the attention know where things are."""

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens ``[b, n, dim]`` -> the same tokens."""
        return tokens
