"""Wide residual networks, the usual convolutional baseline for images of 32 pixels."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.cnn import CNN, cnn_sockets
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


class WideResNet(CNN):
    """A :class:`WideResNetConfig` as a module; the final batch norm and ReLU belong to the last stage."""

    def __init__(self, config: WideResNetConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        map_channels = {stride: 16 * config.width_factor * stride for stride in STRIDES}
        self.declare_maps("a wide ResNet", image_size, map_channels)
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        channels = 16
        for total_stride, out in map_channels.items():
            blocks = [WideBlock(channels, out, min(total_stride, 2), config.dropout)]
            blocks += [WideBlock(out, out, 1, config.dropout) for _ in range((config.depth - 4) // 6 - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = out
        self.norm = nn.BatchNorm2d(channels)
        self.init_convolutions()

    def parameter_layers(self) -> list[tuple[str, ...]]:
        return [("conv",), ("stages.0",), ("stages.1",), ("stages.2", "norm")]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        self.check_images(images)
        *maps, last = self.run_stages(self.stages, self.conv(images))
        return [*maps, F.relu(self.norm(last), inplace=True)]
