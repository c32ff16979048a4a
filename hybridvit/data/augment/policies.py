"""TrivialAugmentWide (arXiv 2103.10158) and RandAugment (arXiv 1909.13719): random operations for each image alone.

Operations, their ranges and their probabilities are torchvision's; the draws are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from hybridvit.data.augment import affine, pixel_ops
from hybridvit.data.augment.config import MAGNITUDES, AugmentConfig

MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")  # worked out together
Way = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, the magnitude and the operation of each -> images
PIXEL_OPS: dict[str, Way] = {
    "brightness": lambda images, magnitude, _: pixel_ops.brightness(images, 1 + magnitude),
    "contrast": lambda images, magnitude, _: pixel_ops.contrast(images, 1 + magnitude),
    "posterize": lambda images, magnitude, _: pixel_ops.posterize(images, magnitude),
    "solarize": lambda images, magnitude, _: pixel_ops.solarize(images, 255 * magnitude),
    "autocontrast": lambda images, *_: pixel_ops.autocontrast(images),
    "equalize": lambda images, *_: pixel_ops.equalize(images),
    "color": lambda images, magnitude, _: pixel_ops.saturation(images, 1 + magnitude),
    "sharpness": lambda images, magnitude, _: pixel_ops.sharpness(images, 1 + magnitude),
}
OPERATIONS = ("identity", *MOVES, *PIXEL_OPS)


class Drawn(NamedTuple):
    """One operation for each image.

    Attributes:
        operation: index into OPERATIONS, ``[b]`` int64.
        magnitude: its strength, ``[b]`` float64: a slope, pixels, degrees, 1 less than a factor, bits, or the share of
            255 that is a threshold; 0 where there is none.
    """

    operation: Tensor
    magnitude: Tensor


def draw(config: AugmentConfig, number: int, size: tuple[int, int], generator: torch.Generator) -> Drawn:
    """One operation for each of so many images of this height and width, any operation with any sign.

    With TrivialAugmentWide the magnitude is any as well; with RandAugment it is the configured one.
    """
    choices = (len(OPERATIONS), 2, MAGNITUDES)
    operation, sign, level = (
        torch.randint(count, (number,), generator=generator, device=generator.device) for count in choices
    )
    table = magnitudes(config.policy, size, generator.device)
    magnitude = table[operation, sign, level if config.policy == "trivial" else config.rand_magnitude]
    return Drawn(operation, magnitude)


def apply_policy(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Images ``[b, c, h, w]`` uint8, of 1 or 3 channels, after their own operations."""
    for _ in range(config.rand_ops if config.policy == "rand" else 1):
        images = apply(images, draw(config, len(images), (images.shape[2], images.shape[3]), generator))
    return images


def apply(images: Tensor, drawn: Drawn) -> Tensor:
    """Each image of ``[b, c, h, w]`` uint8 after the operation drawn for it."""
    way = drawn.operation.clamp(max=1) + (drawn.operation - len(MOVES)).clamp(min=0)
    ways: list[Way] = [lambda unchanged, *_: unchanged, _move, *PIXEL_OPS.values()]
    return _each_its_own(way, ways, images, drawn.magnitude, drawn.operation)


@cache
def magnitudes(policy: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """Strengths of all operations of "trivial" or "rand" on images of this size, with either sign, ``[14, 2, 31]``."""
    wide = policy == "trivial"
    slope, degrees, factor, lost_bits = (0.99, 135.0, 0.99, 6) if wide else (0.3, 30.0, 0.9, 4)
    down, right = (32.0, 32.0) if wide else (150 / 331 * size[0], 150 / 331 * size[1])
    signed = {
        "shear_x": slope, "shear_y": slope, "translate_x": right, "translate_y": down, "rotate": degrees,
        "brightness": factor, "contrast": factor, "color": factor, "sharpness": factor,
    }  # fmt: skip
    table = torch.zeros(len(OPERATIONS), 2, MAGNITUDES)
    for name, largest in signed.items():
        up = torch.linspace(0.0, largest, MAGNITUDES)
        table[OPERATIONS.index(name)] = torch.stack([up, -up])
    table[OPERATIONS.index("posterize")] = (8 - torch.arange(MAGNITUDES) / ((MAGNITUDES - 1) / lost_bits)).round()
    table[OPERATIONS.index("solarize")] = torch.linspace(1.0, 0.0, MAGNITUDES)
    return table.double().to(device)


def _each_its_own(which: Tensor, ways: Sequence[Way], *inputs: Tensor) -> Tensor:
    """Sample i of ``ways[which[i]](*inputs)``, for ``which [b]`` and inputs ``[b, ...]``."""
    return (_sorted if which.device.type == "cpu" else _selected)(which, ways, *inputs)


def _sorted(which: Tensor, ways: Sequence[Way], *inputs: Tensor) -> Tensor:
    """Each way works on its own samples alone."""
    order = which.argsort(stable=True)
    counts = which.bincount(minlength=len(ways)).tolist()
    parts = zip(*(values.index_select(0, order).split(counts) for values in inputs), strict=True)
    done = [way(*part) for way, part, count in zip(ways, parts, counts, strict=True) if count]
    return torch.cat(done).index_select(0, order.argsort())


def _selected(which: Tensor, ways: Sequence[Way], *inputs: Tensor) -> Tensor:
    """Each way works on all samples: more work, but a device need not tell how many each has, and goes on."""
    result = ways[0](*inputs)
    for index, way in enumerate(ways[1:], start=1):
        result = torch.where((which == index).view(-1, *[1] * (result.ndim - 1)), way(*inputs), result)
    return result


def _move(images: Tensor, magnitude: Tensor, operation: Tensor) -> Tensor:
    by = (torch.where(operation == OPERATIONS.index(name), magnitude, 0) for name in MOVES)
    return affine.warp(images, affine.matrix((images.shape[2], images.shape[3]), *by))
