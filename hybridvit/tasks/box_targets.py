"""Boxes as targets of a grid of cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SPREAD = 0.54  # share of a box's sides that its Gaussian covers (arXiv 1909.00700)


class BoxTargets(NamedTuple):
    """What is learned about the boxes of a batch.

    Attributes:
        heat: ``[b, classes, gh, gw]``, 1 in the cell of an object's centre and falling off around it, as a Gaussian.
        boxes: the box that each cell learns, x1, y1, x2, y2 in pixels ``[b, gh, gw, 4]``.
        weights: how much it does, ``[b, gh, gw]``; those of an object sum to 1.
        objects: their number, a scalar.
    """

    heat: Tensor
    boxes: Tensor
    weights: Tensor
    objects: Tensor


def box_targets(target: Tensor, grid: tuple[int, int], image_size: tuple[int, int], classes: int) -> BoxTargets:
    """Boxes on a grid.

    The Gaussian of a box of w cells has a standard deviation of (0.54 w + 1) / 6 along x, h likewise, and ends at
    three of them. A cell learns the box whose Gaussian is highest there, of equal ones the smallest, if its centre
    lies in that box; the cell of the box's centre does in any case.

    Args:
        target: ``[b, m, 5]`` of class, x1, y1, x2, y2 in pixels; rows of class -1 or NaN, and boxes without an
            area, are no objects.
        grid: rows and columns.
        image_size: height and width in pixels.
        classes: number of classes.
    """
    rows, columns = grid
    corners = target[..., 1:]
    valid = (target[..., 0] >= 0) & (corners[..., 2:] > corners[..., :2]).all(dim=-1)
    label = torch.where(valid, target[..., 0], 0).long()
    scale = corners.new_tensor([columns / image_size[1], rows / image_size[0]]).repeat(2)
    x1, y1, x2, y2 = torch.where(valid[..., None], corners * scale, 0).unbind(-1)  # in cells
    x = torch.arange(columns, device=target.device)
    y = torch.arange(rows, device=target.device)

    across, in_columns = _bell(x, x1, x2)
    down, in_rows = _bell(y, y1, y2)
    bell = down[..., :, None] * across[..., None, :] * valid[..., None, None]  # [b, m, gh, gw]
    heat = bell.new_zeros(len(target), classes, rows * columns)
    heat.scatter_reduce_(1, label[..., None].expand(-1, -1, rows * columns), bell.flatten(2), "amax")

    inside = (in_rows[..., :, None] & in_columns[..., None, :]) | (bell == 1)
    height = torch.where(inside, bell, 0)
    size = ((x2 - x1) * (y2 - y1) / (rows * columns))[..., None, None]
    best = (height - 1e-4 * size).masked_fill(height == 0, -1).max(dim=1).indices  # [b, gh, gw]
    own = height * (best[:, None] == torch.arange(target.shape[1], device=target.device)[:, None, None])
    total = own.sum(dim=(2, 3), keepdim=True)
    weights = (own / torch.where(total > 0, total, 1)).sum(dim=1)
    boxes = torch.where(valid[..., None], corners, 0)
    picked = boxes.gather(1, best.flatten(1)[..., None].expand(-1, -1, 4)).unflatten(1, grid)
    return BoxTargets(heat.unflatten(2, grid), picked, weights, valid.sum())


def _bell(cells: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Along one axis, for edges ``[b, m]`` in cells: the Gaussian ``[b, m, n]``, and which cell centres are inside."""
    centre = ((start + end) / 2).floor().clamp(0, len(cells) - 1)[..., None]
    sigma = ((SPREAD * (end - start) + 1) / 6)[..., None]
    distance = (cells - centre).abs()
    bell = torch.where(distance <= 3 * sigma, (-(distance**2) / (2 * sigma**2)).exp(), 0)
    middle = cells + 0.5
    return bell, (middle > start[..., None]) & (middle < end[..., None])
