"""How an image becomes a grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class PatchTokenizer(nn.Module):
    """Non-overlapping patches through one linear map (ViT, arXiv 2010.11929, eq. 1).

    Args:
        in_channels: channels of the images.
        dim: width of the tokens.
        patch_size: side of a patch, in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = patch_size
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this size, in pixels.

        Raises:
            ValueError: the patches do not tile the image.
        """
        for name, size in (("height", height), ("width", width)):
            if size % self.stride or not size:
                fits = [side for side in range(1, size + 1) if size % side == 0]
                patch = min(fits, key=lambda side: abs(side - self.stride), default=1)
                nearest = max(round(size / self.stride), 1) * self.stride
                raise ValueError(
                    f"patch_size {self.stride} does not divide the image {name} {size}: "
                    f"choose patch_size {patch}, or a {name} of {nearest}"
                )
        return height // self.stride, width // self.stride

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        grid = self.grid(*images.shape[-2:])
        return self.proj(images).flatten(2).transpose(1, 2), grid


class ConvTokenizer(nn.Module):
    """3x3 convolutions, each with batch norm and ReLU, then a 1x1 map to the tokens.

    The stem of "Early Convolutions Help Transformers See Better" (arXiv 2106.14881, §4), whose
    strides and widths are free here; overlapping windows carry locality and translation equivariance.

    Args:
        in_channels: channels of the images.
        dim: width of the tokens.
        channels: width of each convolution.
        strides: stride of each convolution, in its own input pixels.
    """

    def __init__(self, in_channels: int, dim: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.strides = tuple(strides)
        self.stride = 1
        layers: list[nn.Module] = []
        width = in_channels
        for out, stride in zip(channels, strides, strict=True):
            conv = nn.Conv2d(width, out, 3, stride=stride, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            width, self.stride = out, self.stride * stride
        self.convs = nn.Sequential(*layers)
        self.proj = nn.Conv2d(width, dim, 1)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this size, in pixels (every stride rounds up)."""
        for stride in self.strides:
            height, width = -(-height // stride), -(-width // stride)
        return height, width

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images ``[b, c, h, w]`` -> tokens ``[b, gh·gw, d]`` and the grid."""
        maps = self.proj(self.convs(images))
        return maps.flatten(2).transpose(1, 2), (maps.shape[-2], maps.shape[-1])
