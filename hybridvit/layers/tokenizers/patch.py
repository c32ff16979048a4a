"""Patches that tile the image, and patches that see half a patch beyond their border."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from einops import rearrange
from torch import Tensor, nn

from hybridvit.config import Config, PositiveInt
from hybridvit.layers.initialisation import linear
from hybridvit.layers.tokenizers.base import Tokenizer, patch_grid


class PatchConfig(Config):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929).

    Attributes:
        patch_size: side of a patch, in pixels.
    """

    kind: Literal["patch"] = "patch"
    patch_size: PositiveInt = 16

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> PatchTokenizer:
        """A tokenizer of these patches, ``dim`` wide."""
        return PatchTokenizer(in_channels, dim, self.patch_size)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"patch {self.patch_size}"


class PatchTokenizer(Tokenizer):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929, eq. 1).

    Args:
        in_channels: channels of the images.
        dim: width of the tokens.
        patch_size: side of a patch, in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__(in_channels, patch_size)
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return patch_grid(self.stride, height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grid = self.grid(*images.shape[-2:])
        return rearrange(self.proj(images), "b d gh gw -> b (gh gw) d"), grid


class ShiftedPatchConfig(Config):
    """Patches of the image and of its four diagonal shifts (SPT, arXiv 2112.13492).

    Attributes:
        patch_size: side of a patch, in pixels, at least 2; the shifts are half of it, rounded down.
    """

    kind: Literal["shifted_patch"] = "shifted_patch"
    patch_size: Annotated[int, Ge(2)] = 16

    def build(self, in_channels: int, dim: int, image_size: tuple[int, int]) -> ShiftedPatchTokenizer:
        """A tokenizer of these patches, ``dim`` wide."""
        return ShiftedPatchTokenizer(in_channels, dim, self.patch_size)

    def describe(self) -> str:
        """In a few words, for ``hybridvit models``."""
        return f"shifted_patch {self.patch_size}"


class ShiftedPatchTokenizer(Tokenizer):
    """Patches that see half a patch beyond their border: SPT (arXiv 2112.13492, §3.1).

    The image and its four copies shifted diagonally by half a patch, zeros moving in, are cut into
    patches together; each patch is flattened, normalised and mapped linearly.

    Args:
        in_channels, dim: channels of the images, width of the tokens.
        patch_size: as in :class:`ShiftedPatchConfig`.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        ShiftedPatchConfig(patch_size=patch_size)  # checks it
        super().__init__(in_channels, patch_size)
        self.norm = nn.LayerNorm(5 * in_channels * patch_size**2)
        self.proj = linear(5 * in_channels * patch_size**2, dim)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return patch_grid(self.stride, height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid.

        A flattened patch runs over shift (none, down-right, down-left, up-right, up-left), channel, row and column.
        """
        height, width = images.shape[-2:]
        gh, gw = self.grid(height, width)
        half, whole = self.stride // 2, self.stride // 2 * 2
        padded = F.pad(images, (half, half, half, half))
        corners = ((half, half), (0, 0), (0, whole), (whole, 0), (whole, whole))
        # Every shift is a view of the padded image and so are its patches: the stack is the only copy.
        shifts = [padded[:, :, top : top + height, left : left + width] for top, left in corners]
        cut = [rearrange(shift, "b c (gh y) (gw x) -> b gh gw c y x", gh=gh, gw=gw) for shift in shifts]
        patches = rearrange(torch.stack(cut, dim=3), "b gh gw shift c y x -> b (gh gw) (shift c y x)")
        return self.proj(self.norm(patches)), (gh, gw)
