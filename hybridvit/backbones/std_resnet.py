"""The weight-standardised ResNet that the hybrids of the ViT paper take their tokens from."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import MultipleOf
from torch import Tensor, nn

from hybridvit.backbones.cnn import CNN, cnn_sockets
from hybridvit.config import Config, PositiveInt

GROUPS = 32
EXPANSION = 4


class StdResNetConfig(Config):
    """A bottleneck ResNet with standardised weights (arXiv 1903.10520, eq. 7) and group norm of 32 groups.

    With depths (3, 4, 9) and a width of 64 it is the ResNet of the hybrid ViTs (arXiv 2010.11929, §3.1).

    Attributes:
        depths: blocks of each stage; every stage after the first halves the map and doubles the width;
            (): the stem alone.
        width: channels of the stem, a multiple of the 32 groups; stage i (from 0) works at width·2^i and gives
            4·width·2^i.
    """

    kind: Literal["std_resnet"] = "std_resnet"
    depths: tuple[PositiveInt, ...] = (3, 4, 9)
    width: Annotated[PositiveInt, MultipleOf(GROUPS)] = 64

    def build(self, image_size: tuple[int, int], in_channels: int) -> StdResNet:
        """The network for images of this height and width, in pixels, randomly initialised."""
        return StdResNet(self, image_size, in_channels)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"std_resnet {'-'.join(map(str, self.depths)) or 'stem'}"

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        return cnn_sockets(self.describe())


class StdConv(nn.Conv2d):
    """A convolution whose filters are brought to mean 0 and variance 1 before use (arXiv 1903.10520, §3).

    Padded as TensorFlow's "SAME": the map has ceil(side / stride) cells, and an odd number of padding
    cells puts the extra one below and to the right. Filters are square.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, in, h, w]`` -> ``[b, out, ceil(h / stride), ceil(w / stride)]``."""
        rows = self.weight.flatten(1)  # each filter is one row, so layer norm is the standardisation
        weight = F.layer_norm(rows, rows.shape[1:], eps=1e-8).view_as(self.weight)
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, weight, self.bias, padding=kernel // 2)
        return F.conv2d(pad_same(x, kernel, stride), weight, self.bias, stride=stride)


class MaxPoolSame(nn.Module):
    """A 3x3 max pool of stride 2 with "SAME" padding."""

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, c, h, w]`` -> ``[b, c, ceil(h / 2), ceil(w / 2)]``."""
        return F.max_pool2d(pad_same(x, 3, 2, value=float("-inf")), 3, stride=2)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """x ``[b, c, h, w]``, padded so that windows of this kernel and stride fit ceil(side / stride) times."""
    top, bottom = _same(x.shape[-2], kernel, stride)
    left, right = _same(x.shape[-1], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value) if top + bottom + left + right else x


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one axis."""
    reach = (-(-side // stride) - 1) * stride + kernel
    missing = max(reach - side, 0)
    return missing // 2, missing - missing // 2


class StdBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 one carries the stride.

    Args:
        channels: channels of the input.
        width: channels between the convolutions; the output has four times as many.
        stride: of the block.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1 = StdConv(channels, width, 1, bias=False)
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.conv2 = StdConv(width, width, 3, stride, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv3 = StdConv(width, out, 1, bias=False)
        self.norm3 = nn.GroupNorm(GROUPS, out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            conv = StdConv(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(OrderedDict(conv=conv, norm=nn.GroupNorm(GROUPS, out)))

    def forward(self, x: Tensor) -> Tensor:
        """x ``[b, channels, h, w]`` -> ``[b, 4·width, ceil(h / stride), ceil(w / stride)]``."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + self.downsample(x))


class StdResNet(CNN):
    """A :class:`StdResNetConfig` as a module.

    Named as timm's ``ResNetV2``, less the ``blocks`` between a stage and its blocks: ``stages.0.1.conv2.weight``.
    """

    def __init__(self, config: StdResNetConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        widths = [config.width * 2**index for index in range(len(config.depths))]
        channels = [config.width, *(EXPANSION * width for width in widths)]
        map_channels = {4 * 2**index: count for index, count in enumerate(channels[1:] or channels)}
        name = f"a weight-standardised ResNet with {len(config.depths)} stages"
        self.declare_maps(name, image_size, map_channels)
        stem = OrderedDict[str, nn.Module](
            conv=StdConv(in_channels, config.width, 7, stride=2, bias=False),
            norm=nn.GroupNorm(GROUPS, config.width),
            act=nn.ReLU(inplace=True),
            pool=MaxPoolSame(),
        )
        self.stem = nn.Sequential(stem)
        self.stages = nn.ModuleList()
        for index, (before, after) in enumerate(pairwise(channels)):
            blocks = [StdBottleneck(before, widths[index], stride=1 if index == 0 else 2)]
            blocks += [StdBottleneck(after, widths[index], stride=1) for _ in range(config.depths[index] - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.init_convolutions()

    def parameter_layers(self) -> list[tuple[str, ...]]:
        return [("stem",), *((f"stages.{index}",) for index in range(len(self.stages)))]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """images ``[b, c, h, w]`` -> the map of every stage, first to last; without stages, of the stem."""
        self.check_images(images)
        x = self.stem(images)
        return self.run_stages(self.stages, x) or [x]
