"""Gated positional self-attention (ConViT, arXiv 2103.10697), exact and without any n x n position matrix.

For head h, query i and key j at an offset (δx, δy) = position(j) - position(i), in patches:

    A_ij = (1 - σ(λ_h)) · softmax_j(q_i · k_j / √d)  +  σ(λ_h) · softmax_j(v_h · (δx, δy, δx² + δy²))

The position term does not depend on the image, and its exponent is a sum of a term in δx and a
term in δy, so its softmax over a gh x gw grid factorises exactly into P_y ⊗ P_x. Applying it takes
two small matrix products, n·(gh + gw)·d multiply-adds instead of n²·d, on any rectangular grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hybridvit.layers.attention import Kernel, attend, attention_scores, autocast_dtype
from hybridvit.layers.psa import PSA, check_grid

# σ(λ) is 1 to the precision of the dtype beyond these, and exp(λ) still finite in it.
LARGEST_GATE = {torch.float16: 10.0, torch.bfloat16: 80.0, torch.float32: 80.0, torch.float64: 700.0}

# Attention so small that it changes no sum. At the convolutional start exp(-δ²) is a denormal number from δ = 10
# on, and a CPU multiplies those a hundred times slower (measured; see LOG.md).
NEGLIGIBLE = 1e-25

# Below this many tokens the factors are too small for a CPU's matrix products, and adding the position matrix to an
# explicit content matrix costs less than the fused kernel and two more products (measured; see LOG.md).
DENSE_TOKENS = 64


def axis_attention(scores: Tensor) -> Tensor:
    """softmax_j of the scores along one axis of the grid, ``[h, s, s]``."""
    return F.threshold(scores.softmax(dim=-1), NEGLIGIBLE, 0.0)


def apply_on_grid(p_y: Tensor, p_x: Tensor, v: Tensor) -> Tensor:
    """(P_y ⊗ P_x) v: ``[h, gh, gh]``, ``[h, gw, gw]`` and v ``[b, h, gh·gw, d]`` -> ``[b, h, gh·gw, d]``.

    With the batch inside, each factor meets a few wide matrices rather than many narrow ones.
    """
    gh, gw = p_y.shape[-1], p_x.shape[-1]
    b, h, n, d = v.shape
    cells = v.unflatten(2, (gh, gw))
    if torch.compiler.is_exporting():  # slower; torch 2.11 cannot bound a symbolic batch in the views below
        return torch.einsum("hxu,hyubd->bhyxd", p_x, torch.einsum("hyv,bhvud->hyubd", p_y, cells)).flatten(2, 3)
    rows = torch.bmm(p_y, cells.permute(1, 2, 3, 0, 4).reshape(h, gh, gw * b * d)).view(h, gh, gw, b * d)
    return (p_x[:, None] @ rows).view(h, n, b, d).permute(2, 0, 1, 3)


def outer(p_y: Tensor, p_x: Tensor) -> Tensor:
    """P_y ⊗ P_x as one matrix for each head: ``[h, gh, gh]`` and ``[h, gw, gw]`` -> ``[h, gh·gw, gh·gw]``."""
    return rearrange(torch.einsum("hyv,hxu->hyxvu", p_y, p_x), "h y x v u -> h (y x) (v u)")


class GPSA(PSA):
    """Gated positional self-attention (ConViT, arXiv 2103.10697, eq. 6-8), for tokens on a grid.

    Attention weights have no dropout, as in the paper. The gate λ starts at 1.

    Args:
        dim, num_heads, qkv_bias, qk_norm, qk_scale, locality_strength: as in :class:`PSA`.

    Raises:
        ValueError: ``num_heads`` is no perfect square, or ``dim`` is not divisible by it.
    """

    def add_parameters(self) -> None:
        self.gate = nn.Parameter(torch.ones(self.num_heads))  # λ_h

    def init_convolutional(self, locality_strength: float = 1.0) -> None:
        """v_h = α·(2Δx, 2Δy, -1) for the head's offset Δ, W_v = identity, λ = 1 (§3 of the paper)."""
        super().init_convolutional(locality_strength)
        nn.init.ones_(self.gate)

    def gates(self) -> Tensor:
        """σ(λ) ``[h]``, the share of attention that follows position rather than content."""
        return self.gate.sigmoid()

    def axes(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The factors of the position attention, P_y ``[h, gh, gh]`` and P_x ``[h, gw, gw]``, in fp32 or better."""
        y, x = super().axes(grid)
        return axis_attention(y), axis_attention(x)

    def project(self, x: Tensor) -> Tensor:
        """As the base class, with the values already weighted by 1 - σ(λ).

        Scaling the rows of a weight is free, scaling the values of every token of every image is not;
        ``mix`` then needs the position branch at exp(λ) = σ / (1 - σ).
        """
        dtype = autocast_dtype(x.device.type) or self.gate.dtype
        content = self._bounded_gate(dtype).neg().sigmoid().repeat_interleave(self.proj.in_features // self.num_heads)
        scale = torch.cat([torch.ones_like(content).repeat(2), content])
        bias = None if self.qkv.bias is None else self.qkv.bias * scale
        return F.linear(x, self.qkv.weight * scale[:, None], bias)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, grid: tuple[int, int] | None) -> Tensor:
        p_y, p_x = self.axes(check_grid(grid, q.shape[-2]))
        p_x = p_x * self._bounded_gate(q.dtype).to(p_x.dtype).exp()[:, None, None]
        q, k, v = q.to(kernel.dtype), k.to(kernel.dtype), v.to(kernel.dtype)
        if v.device.type == "cpu" and v.shape[-2] < DENSE_TOKENS:
            return (attention_scores(q, k, self.scale) + outer(p_y, p_x).to(v.dtype)) @ v
        return attend(q, k, v, kernel, self.scale) + apply_on_grid(p_y.to(v.dtype), p_x.to(v.dtype), v)

    def matrix(self, q: Tensor, k: Tensor, grid: tuple[int, int] | None) -> Tensor:
        p_y, p_x = self.axes(check_grid(grid, q.shape[-2]))
        gate = self.gates()[:, None, None]
        return (1 - gate) * attention_scores(q, k, self.scale) + gate * outer(p_y, p_x)

    def _bounded_gate(self, dtype: torch.dtype) -> Tensor:
        """λ, bounded for the dtype that q, k and v are projected to; ``project`` and ``mix`` must agree."""
        return self.gate.clamp(max=LARGEST_GATE[dtype])
