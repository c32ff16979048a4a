"""Overlapping patches."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.config import Config, PositiveInt
from hybridvit.layers.tokenizers.base import WindowTokenizer


class OverlapConfig(Config):
    """Overlapping patches through one linear map (PVTv2, arXiv 2106.13797).

    Attributes:
        kernel_size: side of a patch, in pixels.
        stride: distance between patches, in pixels.

    Raises:
        ValueError: patches smaller than their distance, which would leave pixels unseen.
    """

    kind: Literal["overlap"] = "overlap"
    kernel_size: PositiveInt = 7
    stride: PositiveInt = 4

    def __post_init__(self) -> None:
        if self.kernel_size < self.stride:
            raise ValueError(
                f"kernel_size {self.kernel_size} with stride {self.stride} skips pixels: "
                f"choose kernel_size {self.stride} or more, or stride {self.kernel_size}"
            )

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> OverlapTokenizer:
        """A tokenizer of these patches, ``dim`` wide."""
        return OverlapTokenizer(in_channels, dim, self.kernel_size, self.stride)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"overlap {self.kernel_size}/{self.stride}"


class OverlapTokenizer(WindowTokenizer):
    """Patches that overlap, through one zero padded convolution (PVTv2, arXiv 2106.13797, §3.2; CvT, 2103.15808, §3.1).

    Both papers put a LayerNorm behind it; it is not part of this layer, as our blocks normalise first.

    Args:
        in_channels: channels of the images.
        dim: width of the tokens.
        kernel_size, stride: as in :class:`OverlapConfig`; in the papers 7 and 4, or 3 and 2.
    """

    def __init__(self, in_channels: int, dim: int, kernel_size: int, stride: int) -> None:
        OverlapConfig(kernel_size=kernel_size, stride=stride)  # checks them
        super().__init__(in_channels, [(kernel_size, stride, kernel_size // 2)])
        self.proj = nn.Conv2d(in_channels, dim, kernel_size, stride=stride, padding=kernel_size // 2)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grid = self.grid(*images.shape[-2:])
        maps = self.proj(images.contiguous(memory_format=torch.channels_last))
        return rearrange(maps, "b d gh gw -> b (gh gw) d"), grid
