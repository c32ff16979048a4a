"""A CNN as the tokenizer of a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from einops import rearrange
from pydantic import Discriminator
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.config import Config, PositiveInt
from hybridvit.layers.tokenizers.base import Tokenizer


class StagesConfig(Config):
    """The last map of a CNN, cut into patches (hybrid architecture of ViT, arXiv 2010.11929, §3.1).

    Attributes:
        cnn: the CNN.
        patch_size: side of a patch, in cells of its last map.
    """

    kind: Literal["stages"] = "stages"
    cnn: Annotated[ResNetConfig | StdResNetConfig, Discriminator("kind")] = StdResNetConfig()
    patch_size: PositiveInt = 1

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> StagesTokenizer:
        """A tokenizer with this CNN, ``dim`` wide."""
        return StagesTokenizer(self.cnn.build(image_size, in_channels), dim, self.patch_size)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return self.cnn.describe() + (f", patch {self.patch_size}" if self.patch_size > 1 else "")


class StagesTokenizer(Tokenizer):
    """The last map of a CNN through one linear map of patches (hybrid ViT, arXiv 2010.11929, §3.1).

    Args:
        cnn: gives maps by stride; every stride rounds up.
        dim: width of the tokens.
        patch_size: side of a patch, in cells of the CNN's last map.
    """

    def __init__(self, cnn: Backbone, dim: int, patch_size: int) -> None:
        cnn_stride = max(cnn.spec.map_channels)
        super().__init__(cnn.in_channels, cnn_stride * patch_size)
        self.cnn, self.cnn_stride, self.patch_size = cnn, cnn_stride, patch_size
        self.map_channels = dict(cnn.spec.map_channels)
        self.proj = nn.Conv2d(cnn.spec.map_channels[cnn_stride], dim, patch_size, stride=patch_size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this size, in pixels.

        Raises:
            ValueError: the patches do not tile the CNN's map.
        """
        rows, columns = -(-height // self.cnn_stride), -(-width // self.cnn_stride)
        if rows % self.patch_size or columns % self.patch_size:
            raise ValueError(
                f"patch_size {self.patch_size} does not divide the CNN's map of {rows}x{columns} cells: choose images "
                f"whose sides are multiples of {self.stride} pixels, given {height}x{width}"
            )
        return rows // self.patch_size, columns // self.patch_size

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        tokens, grid, _ = self.with_maps(images)
        return tokens, grid

    def with_maps(self, images: Tensor) -> tuple[Tensor, tuple[int, int], Mapping[int, Tensor]]:
        grid = self.grid(images.shape[-2], images.shape[-1])
        maps = self.cnn(images).maps
        return rearrange(self.proj(maps[self.cnn_stride]), "b d gh gw -> b (gh gw) d"), grid, maps

    def set_grad_checkpointing(self, enable: bool) -> None:
        self.cnn.set_grad_checkpointing(enable)
