"""A first convolution whose filters whiten the windows of the training images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

MOST_IMAGES = 5000
EPSILON = 5e-4  # of a window's variance along one direction; of normalised images a value's variance is 1
VALUES_AT_ONCE = 1 << 24  # of windows in memory


@torch.no_grad()
def whiten_conv(conv: nn.Conv2d, images: Tensor) -> int:
    """Starts a convolution as the whitening transform of the windows it sees (D. Page, 2018; arXiv 2404.00498, §3.2).

    Filter i is e_i / √(λ_i + ε), of the eigenvectors and eigenvalues of the windows' covariance, largest first, so that
    responses are uncorrelated with a variance of λ_i / (λ_i + ε), about 1. A variance of 1 is what the transform is
    named for; random starts give 0.1 to 2, by layer, and the norms that follow take the scale out. Next come the
    negatives -e_i as far as there are channels: they tell a ReLU what it cut off. All other filters keep their random
    start; the bias is 0. Directions with λ_i ≤ ε are left out: their filters would answer to rounding and noise.

    Args:
        conv: ungrouped, of the images' channels.
        images: ``[n, c, h, w]``, normalised as in training; at most 5,000 of them, evenly spread, are read.

    Returns:
        The number of filters that were set.

    Raises:
        ValueError: grouped or standardised filters, padding in words, other channels, or images without contrast.
    """
    if type(conv) is not nn.Conv2d or conv.groups > 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"only a plain, ungrouped, zero padded convolution can start as a whitening transform: {conv}")
    if images.ndim != 4 or images.shape[1] != conv.in_channels or not len(images):
        raise ValueError(f"expected images [n, {conv.in_channels}, h, w], given {list(images.shape)}")
    values, vectors = torch.linalg.eigh(window_covariance(conv, images))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = int((values > EPSILON).sum())
    if not kept:
        raise ValueError(f"the images have no contrast to whiten: the largest variance is {float(values[0]):.2g}")
    filters = (vectors[:, :kept] * (values[:kept] + EPSILON).rsqrt()).T
    filters = torch.cat([filters, -filters])[: conv.out_channels]
    conv.weight[: len(filters)] = filters.unflatten(1, conv.weight.shape[1:]).to(conv.weight)
    if conv.bias is not None:
        conv.bias.zero_()
    return len(filters)


def window_covariance(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """Covariance of the windows that a convolution sees, zero padding included, ``[c·kh·kw, c·kh·kw]`` float64."""
    if len(images) > MOST_IMAGES:
        images = images[torch.linspace(0, len(images) - 1, MOST_IMAGES, device=images.device).long()]
    assert not isinstance(conv.padding, str), conv.padding
    size = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]
    total = torch.zeros(size, size, dtype=torch.float64, device=images.device)
    mean = torch.zeros(size, dtype=torch.float64, device=images.device)
    count = 0
    per_image = size * images.shape[-2] * images.shape[-1] // (conv.stride[0] * conv.stride[1])
    for part in images.split(max(VALUES_AT_ONCE // per_image, 1)):
        windows = F.unfold(part.double(), conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        windows = rearrange(windows, "b window n -> (b n) window")
        total += windows.T @ windows
        mean += windows.sum(dim=0)
        count += len(windows)
    mean /= count
    return total / count - mean[:, None] * mean
