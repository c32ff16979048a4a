"""Colour and contrast of a batch, each image by its own strength: uint8, 1 or 3 channels, as torchvision has them.

What treats every pixel of a channel alike is a table of 256 levels for each image and channel, ``[b, c, 256]`` uint8,
and :func:`look_up` applies it. A factor of 1 changes nothing, 0 leaves no brightness, contrast, colour or detail.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue, ITU-R BT.601


def look_up(images: Tensor, table: Tensor) -> Tensor:
    """Every pixel's level in the table of its image and channel; ``[b, c, h, w]``, ``[b, c, 256]``."""
    return table.gather(2, images.flatten(2).long()).view_as(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Table of levels times ``factor [b]``."""
    return _table(images, _levels(images) * _column(factor))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Table that moves levels away from the mean grey of their image, ``factor [b]`` times as far as they are."""
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    return _table(images, _blend(_levels(images).view(1, 1, 1, 256), mean, factor)[:, :, 0])


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Table that keeps the upper ``bits [b]``, from 0 to 8, of each level."""
    step = torch.exp2(8 - _column(bits))
    return _table(images, (_levels(images) / step).floor() * step)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Table that inverts levels from ``threshold [b]`` on."""
    levels = _levels(images)
    return _table(images, torch.where(levels >= _column(threshold), 255 - levels, levels))


def autocontrast(images: Tensor) -> Tensor:
    """Table that stretches each channel to all levels; a channel of one level stays as it is."""
    pixels = images.flatten(2)
    darkest, brightest = pixels.amin(2, keepdim=True).float(), pixels.amax(2, keepdim=True).float()
    levels = _levels(images)
    stretched = (levels - darkest) / ((brightest - darkest) * (1 / 255))
    return _table(images, torch.where(brightest == darkest, levels, stretched))


def equalize(images: Tensor) -> Tensor:
    """Table that makes each channel's levels about equally frequent, as PIL does."""
    b, c, h, w = images.shape
    pixels = images.flatten(2).long()
    one = pixels.new_ones((), dtype=torch.int32)
    count = one.new_zeros(b, c, 256).scatter_add_(2, pixels, one.expand(b, c, h * w))
    up_to = count.cumsum(2)
    brightest = images.flatten(2).amax(2, keepdim=True).long()
    step = (h * w - count.gather(2, brightest)) // 255  # pixels of the result at a level, the brightest left out
    below = up_to - count
    even = ((below + step // 2) // step.clamp(min=1)).float()
    return _table(images, torch.where(step == 0, _levels(images), even))


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Images whose pixels are ``factor [b]`` times as far from their grey; ``[b, c, h, w]``."""
    if images.shape[1] == 1:
        return images
    return _bytes(_blend(images.float(), _grey(images), factor))


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Images ``factor [b]`` times as far from a 3x3 blur, but for their outermost pixels; ``[b, c, h, w]``."""
    if min(images.shape[2:]) <= 2:
        return images
    levels = images.to(torch.int16)
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    inner = levels[:, :, 1:-1, 1:-1]
    total = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).add_(inner, alpha=4)  # the pixel itself counts 5 times
    blurred = (total / 13).round_()
    sharpened = images.clone()
    sharpened[:, :, 1:-1, 1:-1] = _bytes(torch.addcmul(inner.float(), _pixelwise(1 - factor), blurred - inner))
    return sharpened


def _column(values: Tensor) -> Tensor:
    """A number for each image, against ``[b, c, 256]``."""
    return values.float()[:, None, None]


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=images.device)


def _grey(images: Tensor) -> Tensor:
    """Grey level of each pixel, whole numbers ``[b, 1, h, w]``."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.split(1, dim=1)
    return red.mul(GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2]).floor_()


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor * images + (1 - factor) * other``; 1 - factor is taken in the factor's own precision."""
    return torch.addcmul(images * _pixelwise(factor), other, _pixelwise(1 - factor))


def _pixelwise(values: Tensor) -> Tensor:
    """A number for each image, against ``[b, c, h, w]``."""
    return values.float()[:, None, None, None]


def _bytes(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _table(images: Tensor, values: Tensor) -> Tensor:
    return _bytes(values).expand(*images.shape[:2], 256)
