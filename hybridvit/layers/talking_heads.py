"""Talking heads: the heads exchange their scores before the softmax and their weights after it."""

from __future__ import annotations

import torch
from torch import Tensor

from hybridvit.layers.attention import MHSA, Kernel
from hybridvit.layers.initialisation import linear


class TalkingHeads(MHSA):
    """Talking-heads attention (arXiv 2003.02436, §3; CaiT, arXiv 2103.17239, §2.3).

    The exchange before the softmax has no bias: one number for a whole row of scores cancels there.
    The rows of ``weights`` do not sum to 1. It needs the n x n scores of every head: memory grows with n².

    Args:
        dim, num_heads, qkv_bias, qk_norm, qk_scale, bias: as in :class:`MHSA`.
    """

    def add_parameters(self) -> None:
        self.mix_scores = linear(self.num_heads, self.num_heads, bias=False)
        self.mix_weights = linear(self.num_heads, self.num_heads)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, grid: tuple[int, int] | None) -> Tensor:
        q, k, v = q.to(kernel.dtype), k.to(kernel.dtype), v.to(kernel.dtype)
        return self.matrix(q, k, grid) @ v

    def matrix(self, q: Tensor, k: Tensor, grid: tuple[int, int] | None) -> Tensor:
        scores = exchange(q @ k.transpose(-2, -1), self.mix_scores.weight * self.scale)
        bias = self.score_bias(q.shape[-2], grid, q.dtype)
        weights = (scores if bias is None else scores + bias.to(scores.dtype)).softmax(dim=-1)
        return exchange(weights, self.mix_weights.weight, self.mix_weights.bias)


def exchange(heads: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear maps over the heads: ``[b, h, n, n]``, weight ``[h, h]``, bias ``[h]`` -> ``[b, h, n, n]``."""
    flat = heads.flatten(2)
    weight = weight.to(flat.dtype).expand(flat.shape[0], -1, -1)
    if bias is None:
        return torch.bmm(weight, flat).view_as(heads)
    return torch.baddbmm(bias.to(flat.dtype)[:, None], weight, flat).view_as(heads)
