"""Multi-head self-attention, and the one place where the attention kernel is chosen."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hybridvit.layers.initialisation import linear
from hybridvit.layers.relative import RelativeBias


class Kernel(NamedTuple):
    """How softmax(q kᵀ / √d) v is computed: fused or explicit, and in which dtype."""

    fused: bool
    dtype: torch.dtype


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without, bf16 is emulated and slower than fp32."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


BF16_UNITS = has_bf16_units()  # asked once, as torch.compile cannot look it up


def choose_kernel(device_type: str, dtype: torch.dtype, tokens: int) -> Kernel:
    """The fastest exact kernel for this device, dtype and number of tokens.

    Accelerators: always fused. CPU (forward + backward, measured; see LOG.md): in fp32 fused
    from 49 tokens on; in bf16 with matrix units explicit until the n x n scores leave the
    cache (about 700 tokens); in emulated bf16 the fp32 kernel, which is also more precise.
    """
    if device_type != "cpu":
        return Kernel(fused=True, dtype=dtype)
    if dtype == torch.bfloat16 and BF16_UNITS:
        return Kernel(fused=tokens >= 700, dtype=dtype)
    if dtype in (torch.bfloat16, torch.float16):
        dtype = torch.float32
    return Kernel(fused=tokens >= 49, dtype=dtype)


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """What autocast turns matrix products into here; None where it is off, as always on the meta device."""
    if device_type == "meta" or not torch.is_autocast_enabled(device_type):
        return None
    return torch.get_autocast_dtype(device_type)


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """A context without autocast; the meta device, which only counts and shapes, knows none."""
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def attention_scores(q: Tensor, k: Tensor, scale: float | None = None, bias: Tensor | None = None) -> Tensor:
    """softmax_j(scale · q_i · k_j + bias_ij): q ``[b, h, m, d]``, k ``[b, h, n, d]`` -> ``[b, h, m, n]``.

    The scale is 1 / √d unless another one is given; the bias ``[h, m, n]`` or ``[m, n]`` may be left out.
    """
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(dim=-1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, scale: float | None = None, bias: Tensor | None = None
) -> Tensor:
    """Exact scaled dot-product attention, as :func:`attention_scores` times v ``[b, h, n, d]`` -> ``[b, h, m, d]``."""
    q, k, v = q.to(kernel.dtype), k.to(kernel.dtype), v.to(kernel.dtype)
    bias = None if bias is None else bias.to(kernel.dtype)
    if kernel.fused:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return attention_scores(q, k, scale, bias) @ v


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """``[b, n, 3·h·d]`` -> q, k, v, each a view ``[b, h, n, d]``.

    Unbinding before the transposition keeps the backward pass at a single copy.
    """
    q, k, v = rearrange(qkv, "b n (qkv h d) -> b n qkv h d", qkv=3, h=num_heads).unbind(2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``[b, h, n, d]`` -> ``[b, n, h·d]``."""
    return rearrange(x, "b h n d -> b n (h d)")


class Attention(nn.Module):
    """What every attention is made of: projections, a fast exact ``mix``, and the explicit ``matrix``.

    A kind that only adds something to the scores says so in ``score_bias``.

    Args:
        dim: width of the tokens; split evenly over the heads.
        num_heads: number of heads.
        qkv_bias: whether the query, key and value projections have a bias.
        qk_norm: layer norm of every query and key over the width of a head (arXiv 2302.05442, §2).
        qk_scale: what q · k is multiplied by; None: 1 / √(width of a head).

    Raises:
        ValueError: ``dim`` is not divisible by ``num_heads``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        *,
        qk_norm: bool = False,
        qk_scale: float | None = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"a width of {dim} cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5 if qk_scale is None else qk_scale
        self.qkv = linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(dim // num_heads, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // num_heads, eps=1e-6) if qk_norm else nn.Identity()
        self.proj = linear(dim, dim)

    def project(self, x: Tensor) -> Tensor:
        """x ``[b, n, dim]`` -> queries, keys and values side by side ``[b, n, 3·dim]``."""
        return self.qkv(x)

    def heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[b, n, 3·dim]`` -> q, k, v ``[b, h, n, d]``, queries and keys normalised if so asked."""
        q, k, v = split_heads(qkv, self.num_heads)
        return self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype), v

    def mix(self, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, grid: tuple[int, int] | None) -> Tensor:
        """Each token's mixture of values, by the fast exact path: ``[b, h, n, d]``."""
        return attend(q, k, v, kernel, self.scale, self.score_bias(v.shape[-2], grid, kernel.dtype))

    def matrix(self, q: Tensor, k: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """The attention matrix ``[b, h, n, n]``."""
        return attention_scores(q, k, self.scale, self.score_bias(q.shape[-2], grid, q.dtype))

    def score_bias(self, tokens: int, grid: tuple[int, int] | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores of this many tokens, ``[h, n, n]``, or None."""
        return None

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` on a grid of n = gh·gw tokens -> ``[b, n, dim]``."""
        q, k, v = self.heads(self.project(x))
        kernel = choose_kernel(v.device.type, v.dtype, v.shape[-2])
        with no_autocast(v.device.type):
            out = self.mix(q, k, v, kernel, grid)
        return self.proj(merge_heads(out).to(v.dtype))

    def weights(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` -> the explicit attention matrix ``[b, h, n, n]``; rows sum to 1 but for talking heads.

        ``merge_heads(weights(x) @ values(x))`` put through ``proj`` equals ``forward(x)``.
        """
        q, k, _ = self.heads(self.qkv(x))
        return self.matrix(q, k, grid)

    def values(self, x: Tensor) -> Tensor:
        """x ``[b, n, dim]`` -> the values that ``weights`` mixes, ``[b, h, n, d]``."""
        return split_heads(self.qkv(x), self.num_heads)[2]


class MHSA(Attention):
    """Multi-head self-attention (Vaswani et al. 2017, eq. 1; ViT, arXiv 2010.11929, eq. 5-8).

    Takes any number of tokens, prefix tokens first; ``grid`` is needed only by a relative position bias.

    Args:
        dim, num_heads, qkv_bias, qk_norm, qk_scale: as in :class:`Attention`.
        bias: what is added to the scores of the grid's tokens.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        *,
        qk_norm: bool = False,
        qk_scale: float | None = None,
        bias: RelativeBias | None = None,
    ) -> None:
        super().__init__(dim, num_heads, qkv_bias, qk_norm=qk_norm, qk_scale=qk_scale)
        self.bias = bias
        self.add_parameters()

    def add_parameters(self) -> None:
        """Adds the parameters that a derived kind has beside these."""

    def score_bias(self, tokens: int, grid: tuple[int, int] | None, dtype: torch.dtype) -> Tensor | None:
        return None if self.bias is None else self.bias(tokens, grid)
