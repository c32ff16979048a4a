"""Augmentations drawn for each sample alone, vectorised over the batch; masks, points and boxes follow their image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridvit.data.splits import VOID, Column


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training images.

    Attributes:
        crop_padding: shift by up to so many pixels each way: zero-pad, then crop at random.
        flip: mirror left and right with probability 1/2. Masks, points and boxes are mirrored too, and points
            named left and right change places; classes and numbers must not depend on it.
    """

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding cannot be negative, given {self.crop_padding}")


def augment(
    images: Tensor,
    targets: Mapping[str, Tensor],
    columns: Mapping[str, Column],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Augmented images with the targets that go with them.

    Args:
        images: ``[b, c, h, w]`` of any dtype.
        targets: column -> ``[b, ...]``, as :class:`Column` says.
        columns: what they hold.
        config: what is done.
        generator: lives on the images' device.
    """
    targets = dict(targets)
    placed = {name: column for name, column in columns.items() if column.kind in ("mask", "points", "boxes")}
    height, width = images.shape[-2:]
    if config.crop_padding:
        shifts = torch.randint(2 * config.crop_padding + 1, (len(images), 2), generator=generator, device=images.device)
        images = crop(images, shifts, config.crop_padding)
        for name, column in placed.items():
            if column.kind == "mask":
                targets[name] = crop(targets[name][:, None], shifts, config.crop_padding, VOID)[:, 0]
            else:
                targets[name] = shift(targets[name], column, config.crop_padding - shifts, (height, width))
    if config.flip:
        mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        for name, column in placed.items():
            flipped = mirror(targets[name], column, width)
            targets[name] = torch.where(mirrored.view(-1, *[1] * (flipped.ndim - 1)), flipped, targets[name])
    return images, targets


def crop(images: Tensor, corner: Tensor, padding: int, value: int = 0) -> Tensor:
    """Pads each image by ``padding`` and cuts the window at its own corner.

    Args:
        images: ``[b, c, h, w]``.
        corner: top and left of each window in the padded image, ``[b, 2]``, from 0 to 2·padding.
        padding: pixels added on every side.
        value: what they hold.

    Returns:
        ``[b, c, h, w]``.
    """
    b, _, h, w = images.shape
    padded = F.pad(images, (padding,) * 4, value=value)
    rows = corner[:, :1] + torch.arange(h, device=images.device)
    columns = corner[:, 1:] + torch.arange(w, device=images.device)
    batch = torch.arange(b, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def shift(target: Tensor, column: Column, by: Tensor, size: tuple[int, int]) -> Tensor:
    """Points or boxes moved ``by`` (down, right) pixels ``[b, 2]``; what leaves an image of this size is lost.

    A point outside becomes NaN; a box is cut at the edge, and one that is outside becomes padding of class -1.
    """
    right_down = by.flip(1).to(target.dtype)[:, None]
    height, width = size
    edge = target.new_tensor([width, height])
    if column.kind == "points":
        moved = target + right_down
        outside = ((moved < 0) | (moved > edge)).any(dim=-1, keepdim=True)
        return moved.masked_fill(outside, torch.nan)
    corners = (target[..., 1:] + right_down.repeat(1, 1, 2)).maximum(edge.new_zeros(())).minimum(edge.repeat(2))
    gone = ((corners[..., 2:] - corners[..., :2]) <= 0).any(dim=-1)
    kind = target[..., 0].masked_fill(gone, -1.0)
    return torch.where((kind == -1)[..., None], _padding(target), torch.cat([kind[..., None], corners], dim=-1))


def mirror(target: Tensor, column: Column, width: int) -> Tensor:
    """A mask, points or boxes mirrored left and right in images of this width."""
    if column.kind == "mask":
        return target.flip(2)
    if column.kind == "points":
        mirrored = torch.cat([width - target[..., :1], target[..., 1:]], dim=-1)
        partners = [column.names.index(_other_side(name, column.names)) for name in column.names]
        return mirrored[:, partners]
    kind, x1, y1, x2, y2 = target.unbind(-1)
    return torch.where((kind == -1)[..., None], target, torch.stack([kind, width - x2, y1, width - x1, y2], dim=-1))


def _padding(boxes: Tensor) -> Tensor:
    return boxes.new_tensor([-1.0, 0.0, 0.0, 0.0, 0.0]).expand_as(boxes)


def _other_side(name: str, names: tuple[str, ...]) -> str:
    """The point that this one becomes in a mirror: left_eye is right_eye's, if both are there."""
    for one, other in (("left", "right"), ("right", "left")):
        if one in name and name.replace(one, other, 1) in names:
            return name.replace(one, other, 1)
    return name
