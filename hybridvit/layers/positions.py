"""Position embeddings, added to the tokens of a grid or put beside them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
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


def sincos1d(dim: int, tokens: int, first: int = 0, temperature: float = 10_000.0) -> Tensor:
    """Fixed 1D sine-cosine embedding ``[tokens, dim]`` (Vaswani et al. 2017, §3.5; T2T-ViT, arXiv 2101.11986).

    Sine in the even channels, cosine in the odd ones; positions run from ``first``.
    """
    channel = torch.arange(dim, dtype=torch.float64)
    frequency = temperature ** (-2 * torch.div(channel, 2, rounding_mode="floor") / dim)
    angles = torch.arange(first, first + tokens, dtype=torch.float64)[:, None] * frequency
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos()).float()


class Position(nn.Module):
    """A table of one vector for each grid cell, and what is done with it.

    Args:
        dim: width of the vectors.
        grid: rows and columns of the usual grid.
        concat: put them beside the tokens instead of adding them.
        first: number of prefix tokens before the first patch, which only :class:`SinCos1DPosition` counts.
    """

    def __init__(self, dim: int, grid: tuple[int, int], concat: bool = False, first: int = 0) -> None:
        super().__init__()
        self.dim, self.grid, self.concat, self.first = dim, grid, concat, first

    def table(self, grid: tuple[int, int]) -> Tensor:
        """The vectors of a grid, ``[gh·gw, dim]``."""
        raise TypeError(f"{type(self).__name__} has no table")

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens ``[b, gh·gw, d]`` -> the same shape, or ``[b, gh·gw, d + dim]`` where vectors are put beside."""
        table = self.table(grid)
        return torch.cat([tokens, table.expand(tokens.shape[0], -1, -1)], dim=-1) if self.concat else tokens + table


class LearnedPosition(Position):
    """One learned vector per grid cell (ViT, arXiv 2010.11929, §3.1), resampled (bicubic) for another grid.

    Args:
        dim, grid, concat, first: as in :class:`Position`; the grid is the one it is learned on.
    """

    def __init__(self, dim: int, grid: tuple[int, int], concat: bool = False, first: int = 0) -> None:
        super().__init__(dim, grid, concat, first)
        self.embedding = nn.Parameter(torch.empty(grid[0] * grid[1], dim))
        nn.init.normal_(self.embedding, std=dim**-0.5)  # as in the authors' code: a vector of length 1

    def table(self, grid: tuple[int, int]) -> Tensor:
        return self.embedding if grid == self.grid else resample(self.embedding, self.grid, grid)


class FixedPosition(Position):
    """A table that is computed, for any grid.

    Args:
        dim, grid, concat, first: as in :class:`Position`.
    """

    embedding: Tensor

    def __init__(self, dim: int, grid: tuple[int, int], concat: bool = False, first: int = 0) -> None:
        super().__init__(dim, grid, concat, first)
        self.register_buffer("embedding", self.compute(grid), persistent=False)

    def compute(self, grid: tuple[int, int]) -> Tensor:
        """The vectors of a grid in fp32, ``[gh·gw, dim]``."""
        raise TypeError(f"{type(self).__name__} has no formula")

    def table(self, grid: tuple[int, int]) -> Tensor:
        return self.embedding if grid == self.grid else self.compute(grid).to(self.embedding)


class SinCosPosition(FixedPosition):
    """The embedding of :func:`sincos2d`; its width is divisible by 4."""

    def compute(self, grid: tuple[int, int]) -> Tensor:
        return sincos2d(self.dim, grid)


class SinCos1DPosition(FixedPosition):
    """The embedding of :func:`sincos1d` over the tokens row by row, prefix tokens counted."""

    def compute(self, grid: tuple[int, int]) -> Tensor:
        return sincos1d(self.dim, grid[0] * grid[1], self.first)


class NoPosition(nn.Module):
    """Leaves the tokens as they are: only the tokenizer and the attention know where things are."""

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens ``[b, n, dim]`` -> the same tokens."""
        return tokens


PositionKind = Literal["learned", "sincos1d", "sincos2d", "relative", "none"]

# Relative positions are a bias on the scores of every attention that has none of its own, and nothing here.
POSITION: dict[PositionKind, type[Position]] = {
    "learned": LearnedPosition,
    "sincos1d": SinCos1DPosition,
    "sincos2d": SinCosPosition,
}


def resample(embedding: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Vectors of one grid for another one, bicubic: ``[old cells, dim]`` -> ``[new cells, dim]``."""
    image = rearrange(embedding.float(), "(gh gw) d -> 1 d gh gw", gh=old[0])
    image = F.interpolate(image, size=new, mode="bicubic", antialias=True, align_corners=False)
    return rearrange(image, "1 d gh gw -> (gh gw) d").to(embedding.dtype)
