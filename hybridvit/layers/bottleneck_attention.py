"""Self-attention over the cells of a feature map, for convolutional networks."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.layers.attention import MHSA, attend, choose_kernel, merge_heads, no_autocast, split_heads
from hybridvit.layers.initialisation import linear


class BottleneckAttention(nn.Module):
    """The attention of Bottleneck Transformers (arXiv 2101.11605, §3 and fig. 4), in place of a 3x3 convolution.

    Cell i attends to cell j with softmax_j(q_i · (k_j + r_h + r_w) / √d); r_h and r_w are learned for every
    distance in rows and in columns and shared by the heads. There is no projection of the result: the
    1x1 convolution that follows in the block is one. Fig. 4 leaves the scale √d out; it is applied to both
    products, as in the authors' code.

    Args:
        channels: channels of the map, split evenly over the heads.
        num_heads: number of heads.
        grid: rows and columns of the map; on another map the distances are stretched linearly.

    Raises:
        ValueError: ``channels`` is not divisible by ``num_heads``.
    """

    def __init__(self, channels: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = linear(channels, 3 * channels, bias=False)
        depth = channels // num_heads
        self.row_distance = nn.Parameter(torch.empty(2 * grid[0] - 1, depth))
        self.column_distance = nn.Parameter(torch.empty(2 * grid[1] - 1, depth))
        for table in (self.row_distance, self.column_distance):
            nn.init.normal_(table, std=depth**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, channels, h, w]`` -> the same shape."""
        grid = (x.shape[-2], x.shape[-1])
        q, k, v = split_heads(self.qkv(rearrange(x, "b c h w -> b (h w) c")), self.num_heads)
        kernel = choose_kernel(v.device.type, v.dtype, v.shape[-2])
        with no_autocast(v.device.type):
            out = attend(q, k, v, kernel, bias=self.position_logits(q, grid))
        return rearrange(merge_heads(out).to(v.dtype), "b (h w) c -> b c h w", h=grid[0])

    def position_logits(self, q: Tensor, grid: tuple[int, int]) -> Tensor:
        """q ``[b, heads, h·w, d]`` on a grid of h x w -> q · (r_h + r_w) / √d, ``[b, heads, h·w, h·w]``."""
        height, width = grid
        q = (q * q.shape[-1] ** -0.5).unflatten(2, grid)
        rows = torch.einsum("bnhwd,hid->bnhwi", q, pairwise_distance(self.row_distance, height).to(q.dtype))
        columns = torch.einsum("bnhwd,wjd->bnhwj", q, pairwise_distance(self.column_distance, width).to(q.dtype))
        return rearrange(rows.unsqueeze(-1) + columns.unsqueeze(-2), "b n h w i j -> b n (h w) (i j)")


def pairwise_distance(table: Tensor, size: int) -> Tensor:
    """Entries of a table over the distances -n+1 .. n-1, ``[2n - 1, d]``, for all pairs: ``[size, size, d]``.

    Entry (i, j) is that of the distance j - i. If size is not n, the outermost distances keep their
    entries, as does distance 0, and those between are interpolated linearly.
    """
    centre, reach = table.shape[0] // 2, size - 1
    if centre != reach:
        steps = torch.arange(-reach, reach + 1, device=table.device)
        at = centre + steps * (centre / max(reach, 1))
        below = at.long().clamp(max=2 * centre)
        above = (below + 1).clamp(max=2 * centre)
        table = torch.lerp(table[below], table[above], (at - below).to(table.dtype)[:, None])
    index = torch.arange(size, device=table.device)
    return table[index - index[:, None] + reach]


class ResidualAttention(nn.Module):
    """x + γ · attention(norm(x)) over the cells of a map, γ a number that starts at 0.

    A non-local block (arXiv 1711.07971, §4) with the gate of SAGAN (arXiv 1805.08318, eq. 3), several heads
    and a layer norm: put between two trained convolutions, it changes nothing at first.

    Args:
        channels: channels of the map, split evenly over the heads.
        num_heads: number of heads.

    Raises:
        ValueError: ``channels`` is not divisible by ``num_heads``.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = MHSA(channels, num_heads)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, channels, h, w]`` -> the same shape."""
        grid = (x.shape[-2], x.shape[-1])
        tokens = rearrange(x, "b c h w -> b (h w) c")
        mixed = self.attention(self.norm(tokens), grid)
        return x + self.gate * rearrange(mixed, "b (h w) c -> b c h w", h=grid[0])
