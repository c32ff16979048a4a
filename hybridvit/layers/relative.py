"""A learned bias on attention scores for every offset between two grid cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def offset_index(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Where the offset from cell i to cell j stands in a flat (2·gh - 1) x (2·gw - 1) table: ``[n, n]``."""
    y, x = torch.meshgrid(*(torch.arange(size, device=device) for size in grid), indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy, dx = y[None, :] - y[:, None] + grid[0] - 1, x[None, :] - x[:, None] + grid[1] - 1
    return dy * (2 * grid[1] - 1) + dx


class RelativeBias(nn.Module):
    """Relative position bias (Swin, arXiv 2103.14030, eq. 4; T5), one table for each head, started at zero.

    Scores from and to prefix tokens get no bias. For another grid the table is resampled (bicubic).

    Args:
        num_heads: number of heads.
        grid: rows and columns of the grid it is learned on.
    """

    index: Tensor

    def __init__(self, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * grid[0] - 1, 2 * grid[1] - 1))
        self.register_buffer("index", offset_index(grid), persistent=False)

    def forward(self, tokens: int, grid: tuple[int, int] | None) -> Tensor:
        """Number of tokens (p prefix tokens, then gh·gw) and their grid -> the bias ``[h, tokens, tokens]``.

        Raises:
            ValueError: no grid is given, or it holds more than the tokens.
        """
        if grid is None or grid[0] * grid[1] > tokens:
            raise ValueError(f"a relative position bias needs the grid of its tokens: given {tokens} and grid={grid}")
        same = grid == self.grid
        table = self.table if same else resample_table(self.table, grid)
        bias = table.flatten(1)[:, self.index if same else offset_index(grid, table.device)]
        prefix = tokens - grid[0] * grid[1]
        return F.pad(bias, (prefix, 0, prefix, 0)) if prefix else bias


def resample_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """A table ``[h, 2·gh - 1, 2·gw - 1]`` for another grid, bicubic."""
    size = (2 * grid[0] - 1, 2 * grid[1] - 1)
    return F.interpolate(table.float()[None], size=size, mode="bicubic", align_corners=True)[0].to(table.dtype)
