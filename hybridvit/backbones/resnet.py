"""ResNets of torchvision's blocks, with a stem for small images and places for self-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

from annotated_types import MinLen
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from hybridvit.backbones.cnn import CNN, cnn_sockets, map_grid, stem_for
from hybridvit.backbones.features import Embedded, Features
from hybridvit.config import Config, PositiveInt
from hybridvit.layers.bottleneck_attention import BottleneckAttention, ResidualAttention

BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}

# Kernel and stride of the stem's convolution, its pool, and the stride that it ends at.
STEMS: dict[str, tuple[int, int, Callable[[], nn.Module], int]] = {
    "small": (3, 1, nn.Identity, 1),
    "pool": (3, 1, partial(nn.MaxPool2d, 2, ceil_mode=True), 2),
    "imagenet": (7, 2, partial(nn.MaxPool2d, 3, stride=2, padding=1), 4),
}


class ResNetConfig(Config):
    """A residual network (arXiv 1512.03385), post-activation, batch-normalised.

    Attributes:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1, four times as wide at its end).
        depths: blocks of each stage; every stage after the first halves the map and doubles the width.
        width: width of the first stage.
        stem: "small", one 3x3 convolution at full resolution (§4.2, CIFAR); "pool", the same and a 2x2 max pool right
            after it, so that no stage works at full resolution (cf. arXiv 2404.00498, §3.1); "imagenet", a 7x7
            convolution of stride 2 and a max pool; "auto", "small" for images whose shorter side is below 96 pixels,
            else "imagenet", as the papers do for CIFAR and for ImageNet.
        num_heads: heads of every self-attention.
        attention_stages: stages, counted from 1, whose 3x3 convolutions are self-attention instead
            (BoTNet, arXiv 2101.11605); only with bottleneck blocks.
        attention_after: stages, counted from 1, whose map goes through gated residual self-attention
            (non-local blocks, arXiv 1711.07971) before the next stage.
    """

    kind: Literal["resnet"] = "resnet"
    block: Literal["basic", "bottleneck"] = "basic"
    depths: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (2, 2, 2, 2)
    width: PositiveInt = 64
    stem: Literal["auto", "small", "pool", "imagenet"] = "auto"
    num_heads: PositiveInt = 4
    attention_stages: tuple[int, ...] = ()
    attention_after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.block == "bottleneck" and self.width != 64:
            raise ValueError(f"torchvision's bottleneck blocks have a width of 64, given {self.width}")
        for name, stages in (("attention_stages", self.attention_stages), ("attention_after", self.attention_after)):
            if len(set(stages)) < len(stages) or not set(stages) <= set(range(1, len(self.depths) + 1)):
                raise ValueError(f"{name} must name stages of 1 .. {len(self.depths)}, each once, given {stages}")
        if self.attention_stages and self.block != "bottleneck":
            raise ValueError(f"attention_stages needs block 'bottleneck', given {self.block!r}")
        if self.num_heads != ResNetConfig.num_heads and not (self.attention_stages or self.attention_after):
            raise ValueError(f"num_heads {self.num_heads} has no effect without attention_stages or attention_after")
        expansion = BLOCKS[self.block].expansion
        widths = [(stage, self.width * 2 ** (stage - 1)) for stage in self.attention_stages]
        widths += [(stage, self.width * 2 ** (stage - 1) * expansion) for stage in self.attention_after]
        for stage, channels in widths:
            if channels % self.num_heads:
                raise ValueError(f"{channels} channels in stage {stage} cannot be split over {self.num_heads} heads")

    def build(self, image_size: tuple[int, int], in_channels: int) -> ResNet:
        """The network for images of this height and width, in pixels, randomly initialised."""
        return ResNet(self, image_size, in_channels)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"resnet {'-'.join(map(str, self.depths))}"

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        places = [f"in stage {stage}" for stage in self.attention_stages]
        places += [f"after stage {stage}" for stage in self.attention_after]
        return cnn_sockets(self.describe(), ", ".join(places) or "none")


class ResNet(CNN):
    """A :class:`ResNetConfig` as a module; parameters are named as in torchvision's ``resnet``.

    Attention in place of a convolution is ``layer4.0.conv2.0``, attention after a stage ``attention4``.
    """

    stem_parts = ("conv1", "bn1")

    def __init__(self, config: ResNetConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        stem = stem_for(image_size) if config.stem == "auto" else config.stem
        kernel, stride, pool, total_stride = STEMS[stem]
        self.conv1 = nn.Conv2d(in_channels, config.width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = pool()
        self.pool_first = stem == "pool"
        map_channels: dict[int, int] = {}
        channels = config.width
        for index, depth in enumerate(config.depths):
            step = 1 if index == 0 else 2
            before = map_grid(image_size, total_stride)
            total_stride *= step
            width = config.width * 2**index
            blocks, channels = _stage(BLOCKS[config.block], channels, width, depth, step)
            self.add_module(f"layer{index + 1}", blocks)
            if index + 1 in config.attention_stages:
                for position, block in enumerate(blocks):
                    grid = before if position == 0 else map_grid(image_size, total_stride)
                    # The attention mixes at full size; where the convolution had a stride, its result is averaged.
                    pools = [nn.AvgPool2d(2, ceil_mode=True)] if step == 2 and position == 0 else []
                    block.conv2 = nn.Sequential(BottleneckAttention(width, config.num_heads, grid), *pools)
            if index + 1 in config.attention_after:
                self.add_module(f"attention{index + 1}", ResidualAttention(channels, config.num_heads))
            map_channels[total_stride] = channels
        self.declare_maps(f"a ResNet with {len(config.depths)} stages and the {stem} stem", image_size, map_channels)
        self.init_convolutions()

    def embed(self, images: Tensor) -> Embedded:
        """images ``[b, c, h, w]`` -> the map before the first stage."""
        self.check_images(images)
        x = self.conv1(images)
        x = self.relu(self.bn1(self.maxpool(x))) if self.pool_first else self.maxpool(self.relu(self.bn1(x)))
        return Embedded(x, (x.shape[-2], x.shape[-1]), {})

    def encode(self, x: Tensor, grid: tuple[int, int], maps: Mapping[int, Tensor]) -> Features:
        """What :meth:`embed` gives -> :class:`Features`."""
        return self.features_of(self._stages(x))

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        return self._stages(self.embed(images).x)

    def parameter_layers(self) -> list[tuple[str, ...]]:
        stages = range(1, len(self.strides) + 1)
        return [("conv1", "bn1"), *((f"layer{stage}", f"attention{stage}") for stage in stages)]

    def _stages(self, x: Tensor) -> list[Tensor]:
        """The map that every stage gives, from the one before the first."""
        maps = []
        for stage in range(1, len(self.strides) + 1):
            x = self.run_layer(getattr(self, f"layer{stage}"), x)
            if hasattr(self, f"attention{stage}"):
                x = self.run_layer(getattr(self, f"attention{stage}"), x)
            maps.append(x)
        return maps


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
