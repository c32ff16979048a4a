"""The contract between backbones and heads: what a backbone gives, declared before it has seen an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

Pooling = Literal["cls", "mean"]


class Features(NamedTuple):
    """What a backbone sees in a batch of images.

    Attributes:
        tokens: patch tokens ``[b, gh·gw, d]``, row by row.
        prefix: class and other prefix tokens ``[b, p, d]``; p may be 0.
        grid: rows and columns (gh, gw) of the tokens; need not be square.
        maps: feature maps ``[b, channels, h / stride, w / stride]`` by stride in pixels, for dense heads.
    """

    tokens: Tensor
    prefix: Tensor
    grid: tuple[int, int]
    maps: Mapping[int, Tensor]


@dataclass(frozen=True)
class FeatureSpec:
    """The shapes of a backbone's :class:`Features`.

    Attributes:
        embed_dim: width d of tokens and prefix.
        grid: rows and columns of the tokens at the image size the backbone was built for.
        prefix_tokens: number p of prefix tokens.
        pooling: how this backbone's tokens are meant to become one vector.
        map_channels: channels of each feature map, by its stride in pixels.
    """

    embed_dim: int
    grid: tuple[int, int]
    prefix_tokens: int
    pooling: Pooling
    map_channels: Mapping[int, int]


class Backbone(nn.Module):
    """A module that maps images ``[b, c, h, w]`` to :class:`Features` of the declared ``spec``."""

    spec: FeatureSpec
    in_channels: int

    def check_images(self, images: Tensor) -> None:
        """Refuses anything but ``[b, in_channels, h, w]``.

        Raises:
            ValueError: naming the shape that was given.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"expected images [b, {self.in_channels}, h, w], given {list(images.shape)}")


def image_size_pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels, from one side of a square or both sides."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be positive, given {image_size}")
    return height, width
