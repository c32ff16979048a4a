"""Augmentations drawn for each sample alone, vectorised over the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training images.

    Attributes:
        crop_padding: shift by up to so many pixels each way: zero-pad, then crop at random.
        flip: mirror left and right with probability 1/2.
    """

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding cannot be negative, given {self.crop_padding}")


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """``[b, c, h, w]`` of any dtype -> the same shape; ``generator`` lives on the images' device."""
    if config.crop_padding:
        shifts = torch.randint(2 * config.crop_padding + 1, (len(images), 2), generator=generator, device=images.device)
        images = crop(images, shifts, config.crop_padding)
    if config.flip:
        mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def crop(images: Tensor, corner: Tensor, padding: int) -> Tensor:
    """Zero-pads each image by ``padding`` and cuts the window at its own corner.

    Args:
        images: ``[b, c, h, w]``.
        corner: top and left of each window in the padded image, ``[b, 2]``, from 0 to 2·padding.
        padding: pixels added on every side.

    Returns:
        ``[b, c, h, w]``.
    """
    b, _, h, w = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows = corner[:, :1] + torch.arange(h, device=images.device)
    columns = corner[:, 1:] + torch.arange(w, device=images.device)
    batch = torch.arange(b, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
