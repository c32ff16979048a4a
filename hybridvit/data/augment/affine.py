"""Shears, shifts and rotations, each image of a batch by its own: nearest pixel, black outside, as in torchvision.

A matrix ``[b, 2, 3]`` says where the content of a pixel comes from: (x, y, 1) of the result, in pixels from the
centre of the image to the centre of the pixel, to (x, y) of the source.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def matrix(
    size: tuple[int, int],
    shear_x: Tensor,
    shear_y: Tensor,
    translate_x: Tensor,
    translate_y: Tensor,
    rotate: Tensor,
) -> Tensor:
    """The matrix of each image, of whose five numbers at most one is not 0; ``[b, 2, 3]``.

    Args:
        size: height and width of the images.
        shear_x: rows slide by so many times their distance from the upper edge, ``[b]``.
        shear_y: columns slide by so many times their distance from the left edge, ``[b]``.
        translate_x: pixels to the right, ``[b]``; what is behind the point is dropped.
        translate_y: pixels down, likewise.
        rotate: degrees about the centre, against the clock, ``[b]``.
    """
    angle = rotate.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    x = [cos, shear_x - sin, shear_x * (size[0] / 2) - translate_x.trunc()]
    y = [shear_y + sin, cos, shear_y * (size[1] / 2) - translate_y.trunc()]
    return torch.stack([*x, *y], dim=1).view(-1, 2, 3)


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Each image by its own matrix: ``[b, c, h, w]`` uint8 and ``[b, 2, 3]`` -> ``[b, c, h, w]``."""
    b, c, h, w = images.shape
    x = torch.arange(w, device=images.device) - (w - 1) / 2
    y = torch.arange(h, device=images.device) - (h - 1) / 2
    column = _source(matrix[:, 0], x, y, w)
    row = _source(matrix[:, 1], x, y, h)
    index = column.add_(row, alpha=w + 2).add_(w + 3).long()  # in images with a frame of one black pixel
    framed = F.pad(images, (1, 1, 1, 1)).flatten(2)
    return framed.gather(2, index.view(b, 1, h * w).expand(b, c, h * w)).view(b, c, h, w)


def _source(row: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Index of the source pixel along a side of this size, for ``row [b, 3]`` of a matrix; ``[b, h, w]`` floats.

    What is outside is -1 or ``size``. The steps, in coordinates from -1 to 1, are those of ``grid_sample``, each
    product fused with its sum: a shear or rotation of an even size meets many halves, and they round as they do there.
    """
    a, b, c = (row.float() / (size / 2))[:, :, None, None].unbind(1)
    place = torch.addcmul(a * x, b, y[:, None]).add_(c).add_(1)
    return torch.addcmul(place.new_full((), -0.5), place, place.new_full((), size / 2)).round_().clamp_(-1, size)
