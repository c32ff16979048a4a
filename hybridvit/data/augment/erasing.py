"""Random erasing (arXiv 1708.04896) and cutout (arXiv 1708.04552): a rectangle of each image is left out."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

AREA = (0.02, 0.33)  # of the image
RATIO = (0.3, 3.3)  # height / width
TRIES = 10


def draw_rectangles(number: int, size: tuple[int, int], probability: float, generator: torch.Generator) -> Tensor:
    """Rectangles of random erasing for so many images of this height and width, ``[b, 4]`` whole numbers.

    Each is top, left, height, width; an image that is left alone has one of size 0. The area is drawn evenly, the
    ratio of the sides evenly on a logarithmic scale, again up to ten times until both sides are smaller than the
    image's, and then the place evenly, as torchvision does.
    """
    device, (height, width) = generator.device, size
    area, ratio = torch.rand(2, TRIES, number, generator=generator, device=device)
    chance, top, left = torch.rand(3, number, generator=generator, device=device)
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
    ratio = (log(RATIO[0]) + log(RATIO[1] / RATIO[0]) * ratio).exp()
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).round()
    fits = (sides[0] < height) & (sides[1] < width)
    first = fits.float().argmax(0).expand(2, 1, -1)  # the first try that fits, or else the first of all
    h, w = sides.gather(1, first)[:, 0] * (fits.any(0) & (chance < probability))
    return torch.stack([(top * (height - h + 1)).floor(), (left * (width - w + 1)).floor(), h, w], dim=1)


def draw_squares(number: int, size: tuple[int, int], side: int, generator: torch.Generator) -> Tensor:
    """Squares of cutout for so many images of this height and width, as :func:`draw_rectangles` has them.

    The centre is at any pixel, so a square may reach beyond the image; one of even side has a pixel more before its
    centre than after.
    """
    device, (height, width) = generator.device, size
    top = torch.randint(height, (number,), generator=generator, device=device) - side // 2
    left = torch.randint(width, (number,), generator=generator, device=device) - side // 2
    sides = torch.full_like(top, side)
    return torch.stack([top, left, sides, sides], dim=1)


def keep(rectangles: Tensor, size: tuple[int, int]) -> Tensor:
    """1 outside each image's rectangle and 0 inside: ``[b, 4]`` -> ``[b, 1, h, w]`` floats."""
    top, left, h, w = rectangles[:, :, None].unbind(1)
    rows = torch.arange(size[0], device=rectangles.device)
    columns = torch.arange(size[1], device=rectangles.device)
    inside_rows = ((rows >= top) & (rows < top + h)).float()
    inside_columns = ((columns >= left) & (columns < left + w)).float()
    return (1 - inside_rows[:, :, None] * inside_columns[:, None])[:, None]
