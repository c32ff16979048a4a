"""The convolutional trunks of torchvision's classifiers as backbones."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision import models

from hybridvit.backbones.cnn import CNN, cnn_sockets, stem_for
from hybridvit.backbones.features import FeatureSpec
from hybridvit.config import Config

# Initialisation as in torchvision: which side of a filter keeps the variance; None: those of nn.Conv2d.
KAIMING_MODES: dict[str, Literal["fan_in", "fan_out"] | None] = {
    "alexnet": None,
    "vgg11_bn": "fan_out",
    "vgg16_bn": "fan_out",
    "densenet121": "fan_in",
    "efficientnet_b0": "fan_out",
}
LARGEST_NEEDED = 64  # pixels a side; every trunk fits an image of this size


class TorchvisionConfig(Config):
    """A trunk of torchvision's.

    Attributes:
        name: AlexNet (arXiv 1404.5997), VGG with batch norm (1409.1556), DenseNet-121 (1608.06993) or
            EfficientNet-B0 (1905.11946).
        stem: "auto", "small" for images whose shorter side is below 96 pixels, else "imagenet"; "imagenet",
            torchvision's own; "small", a first convolution of kernel 3 and stride 1, and no max pool before
            DenseNet's first block. VGG's first convolution has stride 1 anyway.
    """

    kind: Literal["torchvision"] = "torchvision"
    name: Literal["alexnet", "vgg11_bn", "vgg16_bn", "densenet121", "efficientnet_b0"] = "densenet121"
    stem: Literal["auto", "small", "imagenet"] = "auto"

    def __post_init__(self) -> None:
        if self.stem == "small" and self.name.startswith("vgg"):
            raise ValueError(f"stem 'small' has no effect on {self.name}: its first convolution already has stride 1")

    def build(self, image_size: tuple[int, int], in_channels: int) -> TorchvisionCNN:
        """The trunk for images of this height and width, in pixels, randomly initialised."""
        return TorchvisionCNN(self, image_size, in_channels)

    def stem_at(self, image_size: tuple[int, int]) -> Literal["small", "imagenet"]:
        """The stem for images of this height and width, in pixels."""
        if self.name.startswith("vgg"):
            return "imagenet"
        return stem_for(image_size) if self.stem == "auto" else self.stem

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        return cnn_sockets(f"torchvision {self.name}")


class TorchvisionCNN(CNN):
    """A :class:`TorchvisionConfig` as a module, randomly initialised as torchvision does.

    It is the trunk without torchvision's classifier; the head is this package's, the mean of all cells and
    one linear layer, so AlexNet and VGG are without their wide hidden layers. Parameters are named as
    torchvision's, ``features.*``. A layer starts at every max pool, every transition of DenseNet and every
    stage of EfficientNet; the last map is taken after DenseNet's closing ReLU.
    """

    def __init__(self, config: TorchvisionConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        stem = config.stem_at(image_size)
        with torch.device("meta"):  # shapes alone: torchvision builds its classifiers too, up to 120 million weights
            self.features = _trunk(config.name, stem, in_channels)
        # DenseNet's transitions and EfficientNet's stages are Sequential.
        layers = [index for index, child in enumerate(self.features) if isinstance(child, nn.MaxPool2d | nn.Sequential)]
        starts = [0, *(index for index in layers if index)]
        self.bounds = list(zip(starts, [*starts[1:], len(self.features)], strict=True))
        self.strides = list(accumulate(map(_stride, self._layers()), mul))
        if not all(_side(self.features, side) for side in image_size):
            least = next(side for side in range(1, LARGEST_NEEDED + 1) if _side(self.features, side))
            offer = " or the small stem" if stem == "imagenet" and not config.name.startswith("vgg") else ""
            raise ValueError(
                f"images of {image_size[0]}x{image_size[1]} pixels are too small for {config.name} with the "
                f"{stem} stem: it needs {least} pixels a side{offer}"
            )
        self.features.eval()  # batch norm refuses a single cell in training mode
        with torch.no_grad():
            maps = self.stage_maps(torch.empty(1, in_channels, *image_size, device="meta"))
        self.features.train()
        channels, rows, columns = maps[-1].shape[1:]
        map_channels = {stride: x.shape[1] for stride, x in zip(self.strides, maps, strict=True)}
        self.spec = FeatureSpec(channels, (rows, columns), 0, "mean", map_channels)
        self.features.to_empty(device=torch.get_default_device())
        _init(self.features, KAIMING_MODES[config.name])

    def parameter_layers(self) -> list[tuple[str, ...]]:
        layers = [layer for layer in self._layers() if list(layer.parameters())]
        return [tuple(f"features.{name}" for name, _ in layer.named_children()) for layer in layers]

    def _layers(self) -> list[nn.Sequential]:
        return [self.features[start:stop] for start, stop in self.bounds]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        self.check_images(images)
        return self.run_stages(self._layers(), images)


def _trunk(name: str, stem: str, in_channels: int) -> nn.Sequential:
    """torchvision's features with another first convolution."""
    trunk: nn.Sequential = getattr(models, name)(weights=None).features
    path, first = next((name, module) for name, module in trunk.named_modules() if isinstance(module, nn.Conv2d))
    shape: dict[str, Any] = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    if stem == "small":
        shape = {"kernel_size": 3, "stride": 1, "padding": 1}
    shape["bias"] = first.bias is not None
    trunk.set_submodule(path, nn.Conv2d(in_channels, first.out_channels, **shape))
    if name == "densenet121":
        if stem == "small":
            del trunk.pool0
        trunk.add_module("relu5", nn.ReLU(inplace=True))  # torchvision applies it outside of its features
    return trunk


def _windows(module: nn.Module) -> list[tuple[int, int, int]]:
    """Kernel, stride and padding of every convolution and pool, in order; branches beside the path keep the size."""
    found = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    return [(_one(m.kernel_size), _one(m.stride), _one(m.padding)) for m in found]


def _one(value: int | str | tuple[int, ...]) -> int:
    """The side of a square that torch gives as one number or two."""
    return int(value[0] if isinstance(value, tuple) else value)


def _stride(layer: nn.Module) -> int:
    """How far a step in the layer's result goes in its input."""
    return prod(stride for _, stride, _ in _windows(layer))


def _side(trunk: nn.Module, side: int) -> int:
    """Cells along one side of the last map; 0 if a kernel is larger than what it has to slide over."""
    for kernel, stride, padding in _windows(trunk):
        side = max((side + 2 * padding - kernel) // stride + 1, 0)
        if side == 0:
            break
    return side


def _init(trunk: nn.Sequential, mode: Literal["fan_in", "fan_out"] | None) -> None:
    """Initialises a trunk that has no values yet, as torchvision does."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d) and mode:
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
