"""A stem of 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from hybridvit.config import Config, PositiveInt
from hybridvit.layers.tokenizers.base import WindowTokenizer


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
        in_channels: channels of the images.
        dim: width of the tokens.
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
