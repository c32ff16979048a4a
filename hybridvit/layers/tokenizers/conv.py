"""Convolutional tokenizers: overlapping patches, a stem of 3x3 convolutions, convolutions with max pools."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
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
        in_channels, dim: channels of the images, width of the tokens.
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


class ConvConfig(Config):
    """3x3 convolutions with batch norm, then a 1x1 map (early convolutions, arXiv 2106.14881).

    Attributes:
        channels: width of each convolution.
        strides: stride of each convolution, in its own input pixels.
    """

    kind: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, ...] = (64, 128, 128, 256)
    strides: tuple[PositiveInt, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(f"one stride for each convolution: channels {self.channels}, strides {self.strides}")

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> ConvTokenizer:
        """A tokenizer of these convolutions, ``dim`` wide."""
        return ConvTokenizer(in_channels, dim, self.channels, self.strides)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"conv {'-'.join(map(str, self.channels))}"


class ConvTokenizer(WindowTokenizer):
    """3x3 convolutions, each with batch norm and ReLU, then a 1x1 map to the tokens.

    The stem of "Early Convolutions Help Transformers See Better" (arXiv 2106.14881, §4), whose
    strides and widths are free here; overlapping windows carry locality and translation equivariance.

    Args:
        in_channels, dim: channels of the images, width of the tokens.
        channels, strides: as in :class:`ConvConfig`.
    """

    def __init__(self, in_channels: int, dim: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        ConvConfig(channels=tuple(channels), strides=tuple(strides))  # checks them
        super().__init__(in_channels, [(3, stride, 1) for stride in strides])
        layers: list[nn.Module] = []
        width = in_channels
        for out, stride in zip(channels, strides, strict=True):
            conv = nn.Conv2d(width, out, 3, stride=stride, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            width = out
        self.convs = nn.Sequential(*layers)
        self.proj = nn.Conv2d(width, dim, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        maps = self.proj(self.convs(images))
        return rearrange(maps, "b d gh gw -> b (gh gw) d"), (maps.shape[-2], maps.shape[-1])


class ConvPoolConfig(Config):
    """Convolution, ReLU and max pool, as often as asked (CCT, arXiv 2104.05704).

    Attributes:
        kernel_size: side of the convolutions' windows, in their own input pixels.
        stride: their stride, in the same; every pool halves once more.
        layers: number of convolutions, and of poolings.
        hidden_dim: width of all convolutions but the last, which has that of the tokens.
    """

    kind: Literal["conv_pool"] = "conv_pool"
    kernel_size: PositiveInt = 3
    stride: PositiveInt = 1
    layers: PositiveInt = 1
    hidden_dim: PositiveInt = 64

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> ConvPoolTokenizer:
        """A tokenizer of these convolutions, ``dim`` wide."""
        return ConvPoolTokenizer(in_channels, dim, self.kernel_size, self.stride, self.layers, self.hidden_dim)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"conv_pool {self.kernel_size}x{self.layers}"


class ConvPoolTokenizer(WindowTokenizer):
    """Convolution, ReLU and max pooling, once or more: the tokenizer of CCT (arXiv 2104.05704, §3.4).

    Every convolution has no bias and a padding of ``kernel_size // 2``; every pooling takes 3x3 windows
    at a stride of 2 with a padding of 1.

    Args:
        in_channels, dim: channels of the images, width of the tokens.
        kernel_size, stride, layers, hidden_dim: as in :class:`ConvPoolConfig`.
    """

    def __init__(
        self, in_channels: int, dim: int, kernel_size: int = 3, stride: int = 1, layers: int = 1, hidden_dim: int = 64
    ) -> None:
        ConvPoolConfig(kernel_size=kernel_size, stride=stride, layers=layers, hidden_dim=hidden_dim)  # checks them
        super().__init__(in_channels, [(kernel_size, stride, kernel_size // 2), (3, 2, 1)] * layers)
        self.convs = nn.ModuleList()
        for width, out in pairwise([in_channels, *[hidden_dim] * (layers - 1), dim]):
            conv = nn.Conv2d(width, out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            self.convs.append(conv)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grid = self.grid(*images.shape[-2:])
        # Channels last is the order of tokens, and up to 2.4 x as fast on the CPU (measured); ReLU and maximum commute.
        maps = images.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            maps = F.relu(F.max_pool2d(conv(maps), 3, stride=2, padding=1))
        return rearrange(maps, "b d gh gw -> b (gh gw) d"), grid
