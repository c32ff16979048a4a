"""Feature maps of several strides as one map, for heads that answer cell by cell."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

FINE = 4  # pixels: finer maps cost much and say little


class DenseNeck(nn.Module):
    """A small feature pyramid that ends in one map.

    Every map is projected to a common width, enlarged bilinearly to the finest of them and added, as in the
    semantic branch of panoptic FPN (arXiv 1901.02446, fig. 3) but without its convolutions between the strides; then
    one 3x3 convolution, a layer norm of each cell and GELU. No statistics of a batch: an image's result is its own.

    Args:
        map_channels: channels of each map, by its stride in pixels.
        width: channels of the result.
        stride: of the result, in pixels; maps that are finer are left out, and where all are coarser the result is
            enlarged. None: the finest of at least 4, or the finest there is.

    Attributes:
        stride: of the result, in pixels.

    Raises:
        ValueError: there is no map, or none as coarse as ``stride``.
    """

    def __init__(self, map_channels: Mapping[int, int], width: int = 128, stride: int | None = None) -> None:
        super().__init__()
        if not map_channels:
            raise ValueError("this backbone gives no feature maps, which heads of single cells read")
        if width < 1:
            raise ValueError(f"width must be at least 1, given {width}")
        if stride is None:
            stride = min((s for s in map_channels if s >= FINE), default=min(map_channels))
        self.stride = stride
        self.strides = sorted(s for s in map_channels if s >= stride)
        if stride < 1 or not self.strides:
            there = ", ".join(map(str, sorted(map_channels)))
            raise ValueError(f"stride must lie in 1 .. {max(map_channels)} for maps of stride {there}, given {stride}")
        self.project = nn.ModuleDict({str(s): nn.Conv2d(map_channels[s], width, 1) for s in self.strides})
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        """maps ``[b, channels, h / stride, w / stride]`` by stride -> ``[b, width, h / stride, w / stride]``."""
        finest = self.strides[0]
        total = self.project[str(finest)](maps[finest])
        if finest != self.stride:
            rows, columns = (round(side * finest / self.stride) for side in total.shape[-2:])
            total = enlarge(total, (rows, columns))
        for stride in self.strides[1:]:
            total = total + enlarge(self.project[str(stride)](maps[stride]), (total.shape[-2], total.shape[-1]))
        x = self.norm(self.conv(total).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.gelu(x)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``[b, c, h, w]`` -> ``[b, c, *size]``, bilinear, outer edges on outer edges."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
