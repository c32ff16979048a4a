"""Locality self-attention: a learned temperature, and no token looks at itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybridvit.layers.attention import MHSA, Kernel, attend, attention_scores


class LSA(MHSA):
    """Locality self-attention (SL-ViT, arXiv 2112.13492, eq. 5-7); its temperatures are per head, as in the code.

    The diagonal is masked with a finite number, so that a single token still sees itself.

    Args:
        dim, num_heads, qkv_bias, qk_norm, qk_scale, bias: as in :class:`MHSA`; the scale is where the
            temperatures start.
    """

    def add_parameters(self) -> None:
        self.temperature = nn.Parameter(torch.full((self.num_heads,), self.scale))  # multiplies q · k

    def mix(self, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, grid: tuple[int, int] | None) -> Tensor:
        return attend(self.tempered(q), k, v, kernel, 1.0, self.score_bias(v.shape[-2], grid, kernel.dtype))

    def matrix(self, q: Tensor, k: Tensor, grid: tuple[int, int] | None) -> Tensor:
        return attention_scores(self.tempered(q), k, 1.0, self.score_bias(q.shape[-2], grid, q.dtype))

    def tempered(self, q: Tensor) -> Tensor:
        """Queries ``[b, h, n, d]`` times their head's temperature."""
        return q * self.temperature[:, None, None].to(q.dtype)

    def score_bias(self, tokens: int, grid: tuple[int, int] | None, dtype: torch.dtype) -> Tensor:
        """The masked diagonal, plus the relative bias if there is one."""
        eye = torch.eye(tokens, device=self.temperature.device, dtype=dtype)
        mask = eye * (torch.finfo(dtype).min / 2)  # half, as adding a score to it must not overflow
        bias = super().score_bias(tokens, grid, dtype)
        return mask if bias is None else torch.where(eye.bool(), mask, bias.to(dtype))
