"""Images mixed of two, with what each of the two contributes: mixup and CutMix, drawn for each sample alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.batch import Mix


def mix(images: Tensor, config: AugmentConfig, generator: torch.Generator, batches: int = 1) -> tuple[Tensor, Mix]:
    """Each image mixed with another one of the batch, by mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899).

    Args:
        images: normalised floats ``[b, c, h, w]``.
        config: ``mixup`` and ``cutmix``, one of them at least not 0, are alpha in Beta(alpha, alpha), which the share
            of the own image is drawn from; ``mix_probability`` is the share of the samples that are mixed.
        generator: lives on the images' device.
        batches: of one size, one after the other in ``images``: a partner is of the same batch, and counted in it.

    Returns:
        images ``[b, c, h, w]``, those that are not mixed as they were, bit for bit, and how they were mixed.
    """
    assert config.mixup or config.cutmix
    b, _, h, w = images.shape
    device = images.device
    partner = torch.rand(batches, b // batches, generator=generator, device=device).argsort(1)  # randperm may wait
    first = torch.arange(0, b, b // batches, device=device)[:, None]
    mixed = torch.rand(b, generator=generator, device=device) < config.mix_probability
    cut = torch.full((b,), bool(config.cutmix), device=device)
    if config.mixup and config.cutmix:
        cut = torch.rand(b, generator=generator, device=device) < 0.5
    alpha = torch.where(cut, config.cutmix or 1.0, config.mixup or 1.0)
    share = torch.where(mixed, beta(alpha, generator), 1.0)
    own = share.to(images.dtype)[:, None, None]  # of each pixel
    if config.cutmix:
        row, column = (torch.randint(side, (b,), generator=generator, device=device) for side in (h, w))
        rows, columns = covered(share, row, h), covered(share, column, w)
        inside = (rows & cut[:, None]).to(images.dtype)[:, :, None] * columns.to(images.dtype)[:, None, :]
        own = torch.where(cut[:, None, None], 1.0, own) * (1 - inside)
        share = torch.where(cut, 1 - rows.sum(dim=1) * columns.sum(dim=1) / (h * w), share)
    mixed_in = images[(first + partner).flatten()]
    return torch.lerp(mixed_in, images, own[:, None]), Mix(partner.flatten(), share.float())


def beta(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from Beta(alpha, alpha) for each positive alpha ``[b]``, float64 ``[b]``.

    It is made of two gamma draws, as torch.distributions does from the global generator only.
    """
    one, other = torch._standard_gamma(alpha.double().repeat(2, 1), generator=generator)
    return one / (one + other)


def covered(share: Tensor, centre: Tensor, length: int) -> Tensor:
    """The rows (or columns) of an image that a box of the image's proportions covers, bool ``[b, length]``.

    Args:
        share: of the image's area outside the box, if it lies wholly within, ``[b]``; else the box is cut at the edge.
        centre: row (or column) of the pixel whose upper left corner is the box's centre, ``[b]``.
        length: height (or width) of the image.
    """
    half = ((1 - share).sqrt() * (0.5 * length)).long()
    at = torch.arange(length, device=share.device)
    return (at >= (centre - half)[:, None]) & (at < (centre + half)[:, None])
