"""Colour and contrast of a batch, each image by its own strength: uint8, 1 or 3 channels, as torchvision has them.

Every function gives images ``[b, c, h, w]``. A factor ``[b]`` of 1 changes nothing, 0 leaves no brightness, contrast,
colour or detail.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue, ITU-R BT.601


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Levels times the factor."""
    return _bytes(images * _pixelwise(factor))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Levels as many times as far from the mean grey of their image as the factor says."""
    levels = torch.arange(256, dtype=torch.float32, device=images.device)
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    # worked out for each level, not each pixel: rounding then does not depend on how many pixels there are
    table = _bytes(_blend(levels.view(1, 1, 1, 256), mean, factor))[:, 0].expand(*images.shape[:2], 256)
    return table.gather(2, images.flatten(2).long()).view_as(images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """The upper ``bits [b]``, from 0 to 8, of each level."""
    step = torch.exp2(8 - _pixelwise(bits))
    return _bytes((images / step).floor() * step)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Levels from ``threshold [b]`` on inverted."""
    return torch.where(images >= _pixelwise(threshold), 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Each channel stretched to all levels; a channel of one level stays as it is."""
    darkest, brightest = images.amin((2, 3), keepdim=True).float(), images.amax((2, 3), keepdim=True).float()
    stretched = (images - darkest) / ((brightest - darkest) * (1 / 255))
    return _bytes(torch.where(brightest == darkest, images, stretched))


def equalize(images: Tensor) -> Tensor:
    """Each channel's levels about equally frequent, as PIL does."""
    from torchvision.transforms.v2 import functional

    equalized: Tensor = functional.equalize(images)
    return equalized


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Pixels as many times as far from their grey as the factor says."""
    if images.shape[1] == 1:
        return images
    return _bytes(_blend(images.float(), _grey(images), factor))


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Pixels but the outermost as many times as far from a 3x3 blur as the factor says."""
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
