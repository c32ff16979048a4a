"""ResNets of torchvision's blocks, with a stem for small images, under the backbone contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from hybridvit.backbones.features import Backbone, Features, FeatureSpec

BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


@dataclass(frozen=True)
class ResNetConfig:
    """A residual network (arXiv 1512.03385), post-activation, batch-normalised.

    Attributes:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1, four times as wide at its end).
        depths: blocks of each stage; every stage after the first halves the map and doubles the width.
        width: width of the first stage.
        stem: "small", one 3x3 convolution at full resolution (§4.2, CIFAR), or "imagenet", a 7x7
            convolution of stride 2 and a max pool.
    """

    kind: Literal["resnet"] = "resnet"
    block: Literal["basic", "bottleneck"] = "basic"
    depths: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    stem: Literal["small", "imagenet"] = "small"

    def __post_init__(self) -> None:
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths must name at least one block for every stage, given {self.depths}")
        if self.width < 1:
            raise ValueError(f"width must be positive, given {self.width}")
        if self.block == "bottleneck" and self.width != 64:
            raise ValueError(f"torchvision's bottleneck blocks have a width of 64, given {self.width}")


class ResNet(Backbone):
    """A :class:`ResNetConfig` as a module; parameters are named as in torchvision's ``resnet``.

    Tokens are the cells of the last map, row by row; maps of all stages are given by their stride.

    Args:
        config: what to build.
        image_size: height and width of the images, in pixels.
        in_channels: channels of the images.

    Raises:
        ValueError: the image has fewer pixels on a side than the stride of the last stage.
    """

    def __init__(self, config: ResNetConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        small = config.stem == "small"
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, config.width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)

        total_stride = 1 if small else 4
        self.strides: list[int] = []
        map_channels: dict[int, int] = {}
        channels = config.width
        for index, depth in enumerate(config.depths):
            step = 1 if index == 0 else 2
            total_stride *= step
            blocks, channels = _stage(BLOCKS[config.block], channels, config.width * 2**index, depth, step)
            self.add_module(f"layer{index + 1}", blocks)
            self.strides.append(total_stride)
            map_channels[total_stride] = channels
        if min(image_size) < total_stride:
            raise ValueError(
                f"images of {image_size[0]}x{image_size[1]} pixels are smaller than the stride {total_stride} "
                f"of a ResNet with {len(config.depths)} stages and the {config.stem} stem"
            )
        grid = (-(-image_size[0] // total_stride), -(-image_size[1] // total_stride))
        self.spec = FeatureSpec(channels, grid, 0, "mean", map_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`."""
        self.check_images(images)
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = {}
        for index, stride in enumerate(self.strides):
            x = getattr(self, f"layer{index + 1}")(x)
            maps[stride] = x
        tokens = x.flatten(2).transpose(1, 2)
        return Features(tokens, tokens[:, :0], (x.shape[-2], x.shape[-1]), maps)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, depth: int, stride: int
) -> tuple[nn.Sequential, int]:
    """One stage of residual blocks, and its number of output channels."""
    out = width * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
    blocks = [block(channels, width, stride, shortcut)]
    blocks += [block(out, width) for _ in range(depth - 1)]
    return nn.Sequential(*blocks), out
