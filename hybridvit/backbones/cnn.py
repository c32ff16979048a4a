"""What convolutional backbones share: a chain of stages, each with a map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from hybridvit.backbones.features import SOCKETS, Backbone, Features, FeatureSpec, tokens_of

LARGE_IMAGE = 96  # pixels of the shorter side from which on a CNN has the stem of ImageNet


class CNN(Backbone):
    """A convolutional network: its tokens are the cells of the last map, row by row; maps are given by their stride.

    Every network is made of its configuration, the height and width of the images in pixels, and their channels; it
    refuses images that are too small for it with a ValueError.

    Attributes:
        strides: of the map of every stage, in pixels.
    """

    strides: Sequence[int]

    def declare_maps(self, name: str, image_size: tuple[int, int], map_channels: Mapping[int, int]) -> None:
        """Sets ``strides`` and ``spec`` from the channels of every stage's map by its stride; every stride rounds up.

        Raises:
            ValueError: the image has fewer pixels on a side than the stride of the last stage.
        """
        self.strides = list(map_channels)
        stride = self.strides[-1]
        if min(image_size) < stride:
            raise ValueError(
                f"images of {image_size[0]}x{image_size[1]} pixels are smaller than the stride {stride} of {name}"
            )
        self.spec = FeatureSpec(map_channels[stride], map_grid(image_size, stride), 0, "mean", map_channels)

    def init_convolutions(self) -> None:
        """Kaiming's initialisation for ReLU (arXiv 1502.01852) that keeps the variance of gradients."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`; of several maps at one stride, the last."""
        return self.features_of(self.stage_maps(images))

    def features_of(self, maps: Sequence[Tensor]) -> Features:
        """The maps of all stages as :class:`Features`."""
        return tokens_of(maps[-1], dict(zip(self.strides, maps, strict=True)))

    def layer_features(self, images: Tensor) -> list[Features]:
        return [tokens_of(x) for x in self.stage_maps(images)]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """images ``[b, c, h, w]`` -> the map of every stage, first to last."""
        raise TypeError(f"{type(self).__name__} does not say what its stages are")

    def run_stages(self, stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
        """What every stage gives, the first one reading x."""
        maps = []
        for stage in stages:
            x = self.run_layer(stage, x)
            maps.append(x)
        return maps


def map_grid(image_size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the map at a stride; every convolution and pool rounds up."""
    return -(-image_size[0] // stride), -(-image_size[1] // stride)


def cnn_sockets(stages: str, attention: str = "none") -> dict[str, str]:
    """The five sockets of a CNN: it has only stages and pooling, and perhaps attention between them."""
    return dict(zip(SOCKETS, (stages, "none", attention, "none", "mean"), strict=True))


def stem_for(image_size: tuple[int, int]) -> Literal["small", "imagenet"]:
    """The stem that the papers give a CNN for images of this size, in pixels.

    On CIFAR's 32 and Tiny ImageNet's 64 pixels it is one 3x3 convolution at full resolution, on larger images
    ImageNet's, which divides both sides by 4 before the first stage.
    """
    return "small" if min(image_size) < LARGE_IMAGE else "imagenet"
