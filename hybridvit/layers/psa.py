"""Positional self-attention without a gate: content and position share one softmax."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.layers.attention import Attention


def axis_scores(offset: Tensor, square: Tensor, size: int) -> Tensor:
    """offset_h·δ + square_h·δ² for every pair of places along one axis of the grid: two ``[h]`` -> ``[h, s, s]``."""
    position = torch.arange(size, device=offset.device, dtype=offset.dtype)
    delta = position[None, :] - position[:, None]
    return square[:, None, None] * delta.square() + offset[:, None, None] * delta


class PSA(Attention):
    """Positional self-attention (arXiv 1911.03584, eq. 8; ConViT, arXiv 2103.10697, eq. 4-5), for tokens on a grid.

    For head h, query i and key j at an offset (δx, δy) = position(j) - position(i), in patches:

        A_ij = softmax_j(q_i · k_j / √d  +  v_h · (δx, δy, δx² + δy²))

    ConViT's GPSA without its gate, as in the ablation of the paper's table 3: however strong, position cannot drown
    content out there, here it can.

    Args:
        dim: width of the tokens.
        num_heads: number of heads, a perfect square: at the convolutional initialisation they look at the
            cells of a √h x √h window (for an even √h at half-way offsets, as in the authors' code).
        qkv_bias: whether the projections have a bias; the paper's do not.
        qk_norm, qk_scale: as in :class:`Attention`.
        locality_strength: α, the sharpness of the convolutional initialisation, in 1 / patches²; None: without it,
            position scores and values begin at random (the ablation of the paper's table 3).

    Raises:
        ValueError: ``num_heads`` is no perfect square, or ``dim`` is not divisible by it.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = False,
        *,
        qk_norm: bool = False,
        qk_scale: float | None = None,
        locality_strength: float | None = 1.0,
    ) -> None:
        super().__init__(dim, num_heads, qkv_bias, qk_norm=qk_norm, qk_scale=qk_scale)
        check_heads(num_heads)
        self.position = nn.Parameter(torch.empty(num_heads, 3))  # v_h, over (δx, δy, δx² + δy²)
        self.add_parameters()
        if locality_strength is not None:
            self.init_convolutional(locality_strength)
        else:
            nn.init.trunc_normal_(self.position, std=0.02)

    def add_parameters(self) -> None:
        """Adds the parameters that a derived kind has beside these."""

    @torch.no_grad()
    def init_convolutional(self, locality_strength: float = 1.0) -> None:
        """v_h = α·(2Δx, 2Δy, -1) for the head's offset Δ, W_v = identity (ConViT, §3)."""
        side = math.isqrt(self.num_heads)
        offset = torch.arange(side) - (side - 1) / 2
        dy, dx = torch.meshgrid(offset, offset, indexing="ij")
        start = torch.stack([2 * dx.flatten(), 2 * dy.flatten(), -torch.ones(self.num_heads)], dim=1)
        self.position.copy_(locality_strength * start)
        dim = self.proj.in_features
        self.qkv.weight[2 * dim :].copy_(torch.eye(dim))

    def axes(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The position scores' terms in δy ``[h, gh, gh]`` and in δx ``[h, gw, gw]``, in fp32 or better."""
        position = self.position.float() if self.position.dtype.itemsize < 4 else self.position
        x, y, square = position.unbind(dim=1)
        return axis_scores(y, square, grid[0]), axis_scores(x, square, grid[1])

    def score_bias(self, tokens: int, grid: tuple[int, int] | None, dtype: torch.dtype) -> Tensor:
        """v_h · (δx, δy, δx² + δy²) for each pair of a grid's tokens, ``[h, n, n]``."""
        y, x = self.axes(check_grid(grid, tokens))
        return rearrange(y[:, :, None, :, None] + x[:, None, :, None, :], "h gy gx ky kx -> h (gy gx) (ky kx)")


def check_heads(num_heads: int) -> None:
    """Refuses a number of heads that is no perfect square, naming the nearest ones."""
    side = math.isqrt(num_heads)
    if side * side != num_heads:
        raise ValueError(
            f"positional attention starts its heads on a square window, so their number must be a perfect square: "
            f"given {num_heads}, nearest {side**2} or {(side + 1) ** 2}"
        )


def check_grid(grid: tuple[int, int] | None, tokens: int) -> tuple[int, int]:
    """Refuses a grid that does not hold exactly the given tokens."""
    if grid is None or grid[0] * grid[1] != tokens:
        raise ValueError(
            f"positional attention needs tokens that fill its grid and nothing else: given {tokens} tokens and "
            f"grid={grid} (a class token enters after the last such block)"
        )
    return grid
