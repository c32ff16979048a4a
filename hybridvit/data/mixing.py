"""Images mixed of two, with what each of the two contributes: mixup and CutMix, drawn for each sample alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hybridvit.data.batch import Mix
from hybridvit.data.transforms import AugmentConfig


def mix(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Mix]:
    """Each image mixed with another one of the batch, by mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899).

    Args:
        images: normalised floats ``[b, c, h, w]``.
        config: ``mixup`` and ``cutmix``, one of them at least not 0, are alpha in Beta(alpha, alpha), which the share
            of the own image is drawn from; ``mix_probability`` is the share of the samples that are mixed.
        generator: lives on the images' device.

    Returns:
        images ``[b, c, h, w]``, those that are not mixed as they were, bit for bit, and how they were mixed.
    """
    assert config.mixup or config.cutmix
    b, _, h, w = images.shape
    device = images.device
    partner = torch.rand(b, generator=generator, device=device).argsort()  # as randperm, which may wait for a GPU
    mixed = torch.rand(b, generator=generator, device=device) < config.mix_probability
    cut = torch.full((b,), bool(config.cutmix), device=device)
    if config.mixup and config.cutmix:
        cut = torch.rand(b, generator=generator, device=device) < 0.5
    alpha = torch.where(cut, config.cutmix or 1.0, config.mixup or 1.0)
    share = torch.where(mixed, beta(alpha, generator), 1.0)
    own = share[:, None, None]
    if config.cutmix:
        row, column = (torch.randint(side, (b,), generator=generator, device=device) for side in (h, w))
        outside = outside_box(share, row, column, (h, w))
        own = torch.where(cut[:, None, None], outside, own)
        share = torch.where(cut, outside.mean(dim=(1, 2)), share)
    return torch.lerp(images[partner], images, own[:, None].to(images.dtype)), Mix(partner, share.float())


def beta(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from Beta(alpha, alpha) for each positive alpha ``[b]``, float64 ``[b]``.

    It is made of two gamma draws, as torch.distributions does from the global generator only.
    """
    one, other = torch._standard_gamma(alpha.double().repeat(2, 1), generator=generator)
    return one / (one + other)


def outside_box(share: Tensor, row: Tensor, column: Tensor, size: tuple[int, int]) -> Tensor:
    """1 outside a box of the image's proportions, 0 inside, ``[b, h, w]``.

    Args:
        share: of the image's area outside a box that lies wholly within it, ``[b]``.
        row: of the pixel whose upper left corner is the box's centre, ``[b]``.
        column: of the same pixel, ``[b]``.
        size: height and width; what of a box lies outside is cut off.
    """
    inside = torch.ones((), dtype=torch.bool, device=share.device)
    for axis, (centre, length) in enumerate(zip((row, column), size, strict=True)):
        half = ((1 - share).sqrt() * (0.5 * length)).long()
        at = torch.arange(length, device=share.device)
        along = (at >= (centre - half)[:, None]) & (at < (centre + half)[:, None])  # [b, length]
        inside = inside & along.unsqueeze(2 - axis)
    return 1 - inside.double()
