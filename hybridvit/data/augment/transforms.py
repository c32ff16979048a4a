"""Augmentations drawn for each sample alone, vectorised over the batch; masks, points and boxes follow their image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from hybridvit.data.augment.config import AugmentConfig as AugmentConfig
from hybridvit.data.augment.erasing import draw_rectangles, draw_squares, keep
from hybridvit.data.augment.policies import apply_policy
from hybridvit.data.samples import VOID, Column

PLACED = ("mask", "points", "boxes")  # kinds of columns that say where something is


def augment(
    images: Tensor,
    targets: Mapping[str, Tensor],
    columns: Mapping[str, Column],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Augmented images with the targets that go with them: what is done before normalisation.

    Args:
        images: ``[b, c, h, w]`` of any dtype; uint8 for a policy.
        targets: column -> ``[b, ...]``, as :class:`Column` says.
        columns: what they hold.
        config: what is done.
        generator: lives on the images' device.

    Raises:
        ValueError: if these images or columns cannot be augmented so, see :func:`check_augmentation`.
    """
    check_augmentation(config, columns, (images.shape[1], images.shape[2], images.shape[3]))
    targets = dict(targets)
    placed = {name: column for name, column in columns.items() if column.kind in PLACED}
    height, width = images.shape[-2:]
    if config.crop_padding:
        shifts = torch.randint(2 * config.crop_padding + 1, (len(images), 2), generator=generator, device=images.device)
        images = crop(images, shifts, config.crop_padding, fill=config.crop_fill)
        for name, column in placed.items():
            if column.kind == "mask":
                targets[name] = crop(targets[name][:, None], shifts, config.crop_padding, VOID)[:, 0]
            else:
                targets[name] = shift(targets[name], column, config.crop_padding - shifts, (height, width))
    if config.flip:
        mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        either = torch.arange(len(images), device=images.device) + len(images) * mirrored
        images = torch.cat([images, images.flip(3)]).index_select(0, either)
        for name, column in placed.items():
            flipped = mirror(targets[name], column, width)
            targets[name] = torch.where(mirrored.view(-1, *[1] * (flipped.ndim - 1)), flipped, targets[name])
    if config.policy != "none":
        images = apply_policy(images, config, generator)
    return images, targets


def erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Normalised images ``[b, c, h, w]`` with random rectangles, then squares, set to 0, the mean colour."""
    size = (images.shape[2], images.shape[3])
    if config.erasing:
        images = images * keep(draw_rectangles(len(images), size, config.erasing, generator), size).to(images.dtype)
    if config.cutout:
        images = images * keep(draw_squares(len(images), size, config.cutout, generator), size).to(images.dtype)
    return images


def check_augmentation(config: AugmentConfig, columns: Mapping[str, Column], shape: tuple[int, int, int]) -> None:
    """ValueError if images of this shape (c, h, w) with these columns cannot be augmented so."""
    channels, height, width = shape
    if config.crop_fill == "reflect" and config.crop_padding >= min(height, width):
        raise ValueError(
            f"crop_fill 'reflect' needs images larger than crop_padding, given {height}x{width} pixels and a padding "
            f"of {config.crop_padding}"
        )
    if config.policy == "none":
        return
    for name, column in columns.items():
        if column.kind in PLACED:
            raise ValueError(
                f"policy {config.policy!r} moves what is in an image, and {column.kind} do not follow: column {name!r} "
                f"needs policy 'none'"
            )
    if channels not in (1, 3):
        raise ValueError(f"policy {config.policy!r} needs images of 1 (grey) or 3 (RGB) channels, given {channels}")


def crop(
    images: Tensor, corner: Tensor, padding: int, value: int = 0, fill: Literal["zero", "reflect"] = "zero"
) -> Tensor:
    """Pads each image by ``padding`` and cuts the window at its own corner.

    Args:
        images: ``[b, c, h, w]``.
        corner: top and left of each window in the padded image, ``[b, 2]``, from 0 to 2·padding.
        padding: pixels added on every side.
        value: what they hold.
        fill: "reflect" for the image itself there instead, mirrored at the centre of its outermost pixels.

    Returns:
        ``[b, c, h, w]``.
    """
    from torchvision.transforms.v2 import functional

    b, c, h, w = images.shape
    mode = "reflect" if fill == "reflect" else "constant"
    padded = functional.pad(images, [padding] * 4, fill=value, padding_mode=mode)
    height, width = h + 2 * padding, w + 2 * padding
    rows = corner[:, :1] + torch.arange(h, device=images.device)
    first = torch.arange(b * c, device=images.device).view(b, c, 1) * height
    start = (first + rows[:, None]) * width + corner[:, 1:, None]  # [b, c, h]: where each row of a window begins
    return padded.view(-1).unfold(0, w, 1).index_select(0, start.view(-1)).view(b, c, h, w)


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
