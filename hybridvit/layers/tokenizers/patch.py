"""Non-overlapping patches."""

from __future__ import annotations

from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from hybridvit.config import Config, PositiveInt
from hybridvit.layers.tokenizers.base import Tokenizer, patch_grid


class PatchConfig(Config):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929).

    Attributes:
        patch_size: side of a patch, in pixels.
    """

    kind: Literal["patch"] = "patch"
    patch_size: PositiveInt = 16

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> PatchTokenizer:
        """A tokenizer of these patches, ``dim`` wide."""
        return PatchTokenizer(in_channels, dim, self.patch_size)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"patch {self.patch_size}"


class PatchTokenizer(Tokenizer):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929, eq. 1).

    Args:
        in_channels: channels of the images.
        dim: width of the tokens.
        patch_size: side of a patch, in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__(in_channels, patch_size)
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return patch_grid(self.stride, height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grid = self.grid(*images.shape[-2:])
        return rearrange(self.proj(images), "b d gh gw -> b (gh gw) d"), grid
