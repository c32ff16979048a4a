"""Class attention: a class token gathers what it needs from finished patch tokens."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.layers.attention import attend, choose_kernel, merge_heads, no_autocast
from hybridvit.layers.block import NORM_EPS
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.initialisation import linear


class ClassAttention(nn.Module):
    """Attention with the class token as its only query (CaiT, arXiv 2103.17239, eq. 5-7).

    Args:
        dim: width of the tokens; split evenly over the heads.
        num_heads: number of heads.
        qkv_bias: whether the query, key and value projections have a bias.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"a width of {dim} cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.q = linear(dim, dim, bias=qkv_bias)
        self.kv = linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Class token and patch tokens ``[b, 1 + n, dim]`` -> the class token's update ``[b, 1, dim]``."""
        q = rearrange(self.q(x[:, :1]), "b n (h d) -> b h n d", h=self.num_heads)
        k, v = rearrange(self.kv(x), "b n (kv h d) -> b n kv h d", kv=2, h=self.num_heads).unbind(2)
        kernel = choose_kernel(v.device.type, v.dtype, 1)
        with no_autocast(v.device.type):
            out = attend(q, k.transpose(1, 2), v.transpose(1, 2), kernel)
        return self.proj(merge_heads(out).to(v.dtype))


class ClassAttentionBlock(nn.Module):
    """Class attention, then an MLP, for the class token alone; both branches scaled (CaiT, §2.2-2.3).

    Args:
        dim: width of the tokens.
        num_heads: number of heads.
        hidden_dim: width in between of the MLP.
        qkv_bias: whether the query, key and value projections have a bias.
        layer_scale: initial value of the factors on both branches; None: no factors.
        norm_eps: what the layer norms add to the variance.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = ClassAttention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.feedforward = MLP(dim, hidden_dim)
        self.scale1 = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.scale2 = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, token: Tensor, tokens: Tensor) -> Tensor:
        """Class token ``[b, 1, dim]`` and patch tokens ``[b, n, dim]`` -> the class token ``[b, 1, dim]``."""
        update = self.attention(self.norm1(torch.cat([token, tokens], dim=1)))
        token = token + (update if self.scale1 is None else self.scale1 * update)
        update = self.feedforward(self.norm2(token))
        return token + (update if self.scale2 is None else self.scale2 * update)
