"""Multi-head self-attention, and the one place where the attention kernel is chosen."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.layers.initialisation import linear


class Kernel(NamedTuple):
    """How softmax(q kᵀ / √d) v is computed: fused or explicit, and in which dtype."""

    fused: bool
    dtype: torch.dtype


@cache
def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without, bf16 is emulated and slower than fp32."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def choose_kernel(device_type: str, dtype: torch.dtype, tokens: int) -> Kernel:
    """The fastest exact kernel for this device, dtype and number of tokens.

    Accelerators: always fused. CPU (forward + backward, measured; see LOG.md): in fp32 fused
    from 64 tokens on; in bf16 with matrix units explicit until the n x n scores leave the
    cache (about 700 tokens); in emulated bf16 the fp32 kernel, which is also more precise.
    """
    if device_type != "cpu":
        return Kernel(fused=True, dtype=dtype)
    if dtype == torch.bfloat16 and has_bf16_units():
        return Kernel(fused=tokens >= 700, dtype=dtype)
    if dtype in (torch.bfloat16, torch.float16):
        dtype = torch.float32
    return Kernel(fused=tokens >= 64, dtype=dtype)


def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    """softmax_j(q_i · k_j / √d): q, k ``[b, h, n, d]`` -> ``[b, h, n, n]``."""
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, kernel: Kernel) -> Tensor:
    """Exact scaled dot-product attention: ``[b, h, n, d]`` three times -> ``[b, h, n, d]``."""
    q, k, v = q.to(kernel.dtype), k.to(kernel.dtype), v.to(kernel.dtype)
    if kernel.fused:
        return F.scaled_dot_product_attention(q, k, v)
    return attention_scores(q, k) @ v


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """``[b, n, 3·h·d]`` -> q, k, v, each a view ``[b, h, n, d]``.

    Unbinding before the transposition keeps the backward pass at a single copy.
    """
    q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).unbind(2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``[b, h, n, d]`` -> ``[b, n, h·d]``."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """What every attention is made of: projections, a fast exact ``mix``, and the explicit ``matrix``.

    Args:
        dim: width of the tokens; split evenly over the heads.
        num_heads: number of heads.
        qkv_bias: whether the query, key and value projections have a bias.

    Raises:
        ValueError: ``dim`` is not divisible by ``num_heads``.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"a width of {dim} cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = linear(dim, dim)

    def project(self, x: Tensor) -> Tensor:
        """x ``[b, n, dim]`` -> queries, keys and values side by side ``[b, n, 3·dim]``."""
        return self.qkv(x)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, grid: tuple[int, int] | None) -> Tensor:
        """Each token's mixture of values, by the fast exact path: ``[b, h, n, d]``."""
        return attend(q, k, v, kernel)

    def matrix(self, q: Tensor, k: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """The attention matrix ``[b, h, n, n]``, every row summing to 1."""
        return attention_scores(q, k)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` on a grid of n = gh·gw tokens -> ``[b, n, dim]``."""
        q, k, v = split_heads(self.project(x), self.num_heads)
        kernel = choose_kernel(q.device.type, q.dtype, q.shape[-2])
        with torch.autocast(q.device.type, enabled=False):
            out = self.mix(q, k, v, kernel, grid)
        return self.proj(merge_heads(out).to(q.dtype))

    def weights(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` -> the explicit attention matrix ``[b, h, n, n]``, every row summing to 1.

        ``merge_heads(weights(x) @ values(x))`` put through ``proj`` equals ``forward(x)``.
        """
        q, k, _ = split_heads(self.qkv(x), self.num_heads)
        return self.matrix(q, k, grid)

    def values(self, x: Tensor) -> Tensor:
        """x ``[b, n, dim]`` -> the values that ``weights`` mixes, ``[b, h, n, d]``."""
        return split_heads(self.qkv(x), self.num_heads)[2]


class MHSA(Attention):
    """Multi-head self-attention (Vaswani et al. 2017, eq. 1; ViT, arXiv 2010.11929, eq. 5-8).

    Takes any number of tokens, prefix tokens included; ``grid`` is accepted and not used.
    """
