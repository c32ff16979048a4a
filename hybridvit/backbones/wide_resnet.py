"""Wide residual networks, the usual convolutional baseline for images of 32 pixels."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, Features, FeatureSpec, cnn_sockets, tokens_of
from hybridvit.config import Config, Fraction, PositiveInt

STRIDES = (1, 2, 4)


class WideResNetConfig(Config):
    """A WRN-depth-width_factor (arXiv 1605.07146, table 1) of pre-activation basic blocks.

    Attributes:
        depth: number of convolutions, 6n + 4 for n blocks in each of the three stages.
        width_factor: k; the stages have 16k, 32k and 64k channels.
        dropout: rate of the dropout between the two convolutions of a block (§2.4).
    """

    kind: Literal["wide_resnet"] = "wide_resnet"
    depth: int = 28
    width_factor: PositiveInt = 10
    dropout: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.depth < 10 or (self.depth - 4) % 6:
            below = self.depth - (self.depth - 4) % 6
            nearest = "10" if below < 10 else f"{below} or {below + 6}"
            raise ValueError(f"depth must be 6n + 4 with n at least 1, given {self.depth}; nearest: {nearest}")

    def build(self, image_size: tuple[int, int], in_channels: int) -> WideResNet:
        """The network for images of this height and width, in pixels, randomly initialised."""
        return WideResNet(self, image_size, in_channels)

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        return cnn_sockets(f"wide_resnet {self.depth}-{self.width_factor}")


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, and a shortcut (fig. 1b and 1d).

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input; elsewhere it is
    the input itself.

    Args:
        channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution.
        dropout: rate between the convolutions.
    """

    def __init__(self, channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, channels, h, w]`` -> ``[b, out_channels, ceil(h / stride), ceil(w / stride)]``."""
        active = F.relu(self.norm1(x), inplace=True)
        y = F.relu(self.norm2(self.conv1(active)), inplace=True)
        y = self.conv2(self.dropout(y))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(Backbone):
    """A :class:`WideResNetConfig` as a module.

    Tokens are the cells of the last map, row by row, after the final batch norm and ReLU, which belong
    to the last stage; maps of all stages are given by their stride.

    Args:
        config: what to build.
        image_size: height and width of the images, in pixels.
        in_channels: channels of the images.

    Raises:
        ValueError: the image has fewer than 4 pixels on a side.
    """

    def __init__(self, config: WideResNetConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        if min(image_size) < STRIDES[-1]:
            raise ValueError(
                f"images of {image_size[0]}x{image_size[1]} pixels are smaller than the stride {STRIDES[-1]} "
                f"of a wide ResNet"
            )
        self.in_channels = in_channels
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        channels = 16
        map_channels: dict[int, int] = {}
        for total_stride in STRIDES:
            out = 16 * config.width_factor * total_stride
            blocks = [WideBlock(channels, out, min(total_stride, 2), config.dropout)]
            blocks += [WideBlock(out, out, 1, config.dropout) for _ in range((config.depth - 4) // 6 - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = map_channels[total_stride] = out
        self.norm = nn.BatchNorm2d(channels)
        grid = (-(-image_size[0] // STRIDES[-1]), -(-image_size[1] // STRIDES[-1]))
        self.spec = FeatureSpec(channels, grid, 0, "mean", map_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`."""
        maps = self._stage_maps(images)
        return tokens_of(maps[-1], dict(zip(STRIDES, maps, strict=True)))

    def layer_features(self, images: Tensor) -> list[Features]:
        return [tokens_of(x) for x in self._stage_maps(images)]

    def parameter_layers(self) -> list[tuple[str, ...]]:
        return [("conv",), ("stages.0",), ("stages.1",), ("stages.2", "norm")]

    def _stage_maps(self, images: Tensor) -> list[Tensor]:
        """The map of every stage, the last one normed and activated."""
        self.check_images(images)
        x = self.conv(images)
        maps = []
        for stage in self.stages:
            x = self.run_layer(stage, x)
            maps.append(x)
        maps[-1] = F.relu(self.norm(x), inplace=True)
        return maps
