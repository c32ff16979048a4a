"""Socket 1 of a vision transformer: the ways an image becomes tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.config import Config


class PatchConfig(Config):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929).

    Attributes:
        patch_size: side of a patch, in pixels.
    """

    kind: Literal["patch"] = "patch"
    patch_size: int = 16

    def __post_init__(self) -> None:
        _check_positive(patch_size=self.patch_size)


class OverlapConfig(Config):
    """Overlapping patches through one linear map (PVTv2, arXiv 2106.13797).

    Attributes:
        kernel_size: side of a patch, in pixels.
        stride: distance between patches, in pixels.
    """

    kind: Literal["overlap"] = "overlap"
    kernel_size: int = 7
    stride: int = 4

    def __post_init__(self) -> None:
        _check_positive(kernel_size=self.kernel_size, stride=self.stride)
        if self.kernel_size < self.stride:
            raise ValueError(f"patches overlap only if kernel_size {self.kernel_size} ≥ stride {self.stride}")


class ConvConfig(Config):
    """3x3 convolutions with batch norm, then a 1x1 map (early convolutions, arXiv 2106.14881).

    Attributes:
        channels: width of each convolution.
        strides: stride of each convolution.
    """

    kind: Literal["conv"] = "conv"
    channels: tuple[int, ...] = (64, 128, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(f"one stride for each convolution: channels {self.channels}, strides {self.strides}")
        if min(self.channels + self.strides) < 1:
            raise ValueError(f"channels and strides must be positive: channels {self.channels}, strides {self.strides}")


class ConvPoolConfig(Config):
    """Convolution, ReLU and max pool, as often as asked (CCT, arXiv 2104.05704).

    Attributes:
        kernel_size: side of the convolutions, in pixels.
        stride: their stride; every pool halves once more.
        layers: number of convolutions.
        hidden_dim: width of all convolutions but the last.
    """

    kind: Literal["conv_pool"] = "conv_pool"
    kernel_size: int = 3
    stride: int = 1
    layers: int = 1
    hidden_dim: int = 64

    def __post_init__(self) -> None:
        _check_positive(
            kernel_size=self.kernel_size, stride=self.stride, layers=self.layers, hidden_dim=self.hidden_dim
        )


class ShiftedPatchConfig(Config):
    """Patches of the image and of its four diagonal shifts (SPT, arXiv 2112.13492).

    Attributes:
        patch_size: side of a patch, in pixels; the shifts are half of it.
    """

    kind: Literal["shifted_patch"] = "shifted_patch"
    patch_size: int = 16

    def __post_init__(self) -> None:
        if self.patch_size < 2:
            raise ValueError(f"patch_size must be at least 2, as patches shift by half of it; given {self.patch_size}")


class T2TConfig(Config):
    """Tokens to token: three soft splits with a small transformer between them, stride 16 (arXiv 2101.11986).

    Attributes:
        token_dim: width of the small transformers.
        inner: their kind, "performer" (linear in the number of tokens) or "transformer".
    """

    kind: Literal["t2t"] = "t2t"
    token_dim: int = 64
    inner: Literal["performer", "transformer"] = "performer"

    def __post_init__(self) -> None:
        if self.token_dim < 2:
            raise ValueError(f"token_dim must be at least 2, given {self.token_dim}")


class StagesConfig(Config):
    """The last map of a CNN, cut into patches (hybrid architecture of ViT, arXiv 2010.11929, §3.1).

    Attributes:
        cnn: the CNN.
        patch_size: side of a patch, in cells of its last map.
    """

    kind: Literal["stages"] = "stages"
    cnn: Annotated[ResNetConfig | StdResNetConfig, Discriminator("kind")] = StdResNetConfig()
    patch_size: int = 1

    def __post_init__(self) -> None:
        _check_positive(patch_size=self.patch_size)


TokenizerConfig = Annotated[
    PatchConfig | OverlapConfig | ConvConfig | ConvPoolConfig | ShiftedPatchConfig | T2TConfig | StagesConfig,
    Discriminator("kind"),
]


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, given {value}")
