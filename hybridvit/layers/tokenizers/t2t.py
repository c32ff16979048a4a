"""Tokens-to-token: patches merged step by step, with a transformer layer before each merge (arXiv 2101.11986, §3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from einops import rearrange
from torch import Tensor, nn

from hybridvit.config import Config
from hybridvit.layers.attention import attend, choose_kernel, no_autocast
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.initialisation import linear
from hybridvit.layers.tokenizers.base import WindowTokenizer

# The three soft splits: side, stride and padding of their windows, in cells of their input.
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))


class T2TConfig(Config):
    """Tokens to token: three soft splits with a small transformer between them, stride 16 (arXiv 2101.11986).

    Attributes:
        token_dim: width of the small transformers, and of the tokens between the splits; at least 2.
        inner: their attention: "performer", linear in the tokens, or "transformer", exact.
    """

    kind: Literal["t2t"] = "t2t"
    token_dim: Annotated[int, Ge(2)] = 64
    inner: Literal["performer", "transformer"] = "performer"

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> T2TTokenizer:
        """A tokens-to-token module, ``dim`` wide."""
        return T2TTokenizer(in_channels, dim, self.token_dim, self.inner)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"t2t {self.inner}"


class TokenTransformer(nn.Module):
    """One-head transformer layer that also changes the width (T2T-ViT, arXiv 2101.11986, §3.1).

    The values, the first tensor of the new width, take the part of the skip connection around the attention.

    Args:
        in_dim: width of the tokens that come in.
        dim: width of everything behind the projection to queries, keys and values.
        qkv_bias: whether that projection has a bias.
    """

    def __init__(self, in_dim: int, dim: int, qkv_bias: bool = False) -> None:
        super().__init__()
        # Of the width before the projection, not of the queries' own: the authors' code does so, and so do its weights.
        self.scale = in_dim**-0.5
        self.norm1 = nn.LayerNorm(in_dim)
        self.qkv = linear(in_dim, 3 * dim, bias=qkv_bias)
        self.proj = linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.feedforward = MLP(dim, dim)

    def mix(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values side by side ``[b, n, 3·dim]`` -> mixed values ``[b, n, dim]``."""
        q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)
        return attend(q, k, v, choose_kernel(qkv.device.type, qkv.dtype, qkv.shape[1]), self.scale).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, n, in_dim]`` -> ``[b, n, dim]``."""
        qkv = self.qkv(self.norm1(x))
        with no_autocast(qkv.device.type):
            mixed = self.mix(qkv).to(qkv.dtype)
        x = qkv.chunk(3, dim=-1)[2] + self.proj(mixed)
        return x + self.feedforward(self.norm2(x))


class TokenPerformer(TokenTransformer):
    """The same layer with performer attention, linear in the tokens (arXiv 2101.11986, §3.1; 2009.14794, §2.3).

    With m random directions w, the rows of ``random_features``, softmax(q kᵀ) becomes φ(q) φ(k)ᵀ with rows divided
    by their sum, φ(x) = exp(w·x - |x|²/2) / √m. It runs in fp32 at least: the features span many orders of magnitude.
    The directions are drawn once, orthogonal and of length √m, and are saved but not trained.

    Args:
        in_dim: width of the tokens that come in.
        dim: width of everything behind the projection, at least 2; m is half of it.
    """

    EPSILON = 1e-8  # keeps the rows' sums from 0; the authors' value, and large enough to be felt in wide tokens

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__(in_dim, dim, qkv_bias=True)
        self.random_features: Tensor
        features = nn.init.orthogonal_(torch.empty(dim // 2, dim)) * (dim // 2) ** 0.5
        self.register_buffer("random_features", features)

    def mix(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values side by side ``[b, n, 3·dim]`` -> mixed values ``[b, n, dim]``."""
        q, k, v = qkv.to(torch.promote_types(qkv.dtype, torch.float32)).chunk(3, dim=-1)
        q, k = self.features(q), self.features(k)
        total = k.sum(dim=1).unsqueeze(2)
        # φ without its 1 / √m: the factor cancels but for this term.
        epsilon = self.EPSILON * self.random_features.shape[0]
        return q @ (k.transpose(1, 2) @ v) / (q @ total + epsilon)

    def features(self, x: Tensor) -> Tensor:
        """√m · φ(x): ``[b, n, dim]`` -> ``[b, n, m]``."""
        w = self.random_features.to(x.dtype)
        return (x @ w.T - x.square().sum(dim=-1, keepdim=True) / 2).exp()


class T2TTokenizer(WindowTokenizer):
    """The tokens-to-token module of T2T-ViT (arXiv 2101.11986, §3.1).

    Three soft splits, overlapping windows flattened to tokens, of 7, 3 and 3 cells a side; behind the first
    two a token layer re-models all tokens, behind the last a linear map makes the tokens of the backbone.
    The authors' dropout of 0.1 inside the performer is left out.

    Args:
        in_channels, dim: channels of the images, width of the tokens.
        token_dim, inner: as in :class:`T2TConfig`.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        token_dim: int = 64,
        inner: Literal["performer", "transformer"] = "performer",
    ) -> None:
        T2TConfig(token_dim=token_dim, inner=inner)  # checks them
        super().__init__(in_channels, SPLITS)
        layer = {"performer": TokenPerformer, "transformer": TokenTransformer}[inner]
        sides = [side for side, _, _ in SPLITS]
        self.stages = nn.ModuleList(
            [layer(sides[0] ** 2 * in_channels, token_dim), layer(sides[1] ** 2 * token_dim, token_dim)]
        )
        self.proj = linear(sides[2] ** 2 * token_dim, dim)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grids = self.grids(*images.shape[-2:])
        maps = images
        for stage, (side, stride, padding), grid in zip(self.stages, SPLITS[:2], grids[:2], strict=True):
            tokens = stage(rearrange(F.unfold(maps, side, stride=stride, padding=padding), "b w n -> b n w"))
            maps = rearrange(tokens, "b (gh gw) d -> b d gh gw", gh=grid[0])
        # Windows through a linear map are a convolution, which need not write the windows out.
        side, stride, padding = SPLITS[2]
        kernel = self.proj.weight.unflatten(1, (-1, side, side))
        maps = F.conv2d(maps, kernel, self.proj.bias, stride=stride, padding=padding)
        return rearrange(maps, "b d gh gw -> b (gh gw) d"), grids[-1]
