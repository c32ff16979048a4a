"""The initial values of transformer layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

QUERY_KEY = (0.7, 0.7)  # (α, β) of W_q W_kᵀ in the mimetic start
VALUE_PROJ = (0.4, 0.4)  # and of W_v W_proj


def linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """A linear layer started as in the ViT authors' code: Xavier uniform weights, zero bias.

    The scale follows the width. The fixed standard deviation of 0.02 of DeiT and timm suits 384 to
    768 wide models; in the narrow ones of small data it leaves a plain ViT blind to position for
    thousands of steps (measured; see LOG.md).
    """
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def init_mimetic(qkv: nn.Linear, proj: nn.Linear, num_heads: int) -> None:
    """Mimetic start of self-attention (arXiv 2305.09828, §4): trained transformers' products of weights.

    Every head's W_q W_kᵀ ≈ αZ + βI and W_v W_proj ≈ αZ - βI, with Z of independent N(0, 1 / dim) entries,
    factored by singular values; q · k is divided by √(width of a head) as usual.

    Args:
        qkv: queries, keys and values, ``[3·dim, dim]``.
        proj: output projection, ``[dim, dim]``.
        num_heads: number of heads.
    """
    dim = proj.in_features
    width = dim // num_heads

    def factors(noise: float, identity: float, rank: int) -> tuple[Tensor, Tensor]:
        target = torch.randn(dim, dim, device=qkv.weight.device) * (noise * dim**-0.5)
        target.diagonal().add_(identity)
        u, s, v = torch.linalg.svd(target)
        root = s[:rank].sqrt()
        return u[:, :rank] * root, v[:rank].T * root

    for head in range(num_heads):
        q, k = factors(*QUERY_KEY, width)
        qkv.weight[head * width : (head + 1) * width] = q.T
        qkv.weight[dim + head * width : dim + (head + 1) * width] = k.T
    v, out = factors(VALUE_PROJ[0], -VALUE_PROJ[1], dim)
    qkv.weight[2 * dim :] = v.T  # x W_v, in torch's layout
    proj.weight.copy_(out)
