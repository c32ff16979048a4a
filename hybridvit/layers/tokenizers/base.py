"""What every tokenizer offers, and how patches and windows lie on an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from torch import Tensor, nn


class Tokenizer(nn.Module):
    """Maps images ``[b, c, h, w]`` to tokens ``[b, gh·gw, d]`` and their grid (gh, gw).

    Args:
        in_channels: channels of the images.
        stride: pixels from one token to the next.

    Attributes:
        map_channels: channels of further feature maps, by their stride in pixels; only a CNN inside has any.
    """

    map_channels: Mapping[int, int] = {}

    def __init__(self, in_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.stride = in_channels, stride

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this size, in pixels.

        Raises:
            ValueError: the tokenizer does not fit the image.
        """
        raise TypeError(f"{type(self).__name__} does not say its grid")

    def with_maps(self, images: Tensor) -> tuple[Tensor, tuple[int, int], Mapping[int, Tensor]]:
        """As ``forward``, and further feature maps by their stride in pixels."""
        tokens, grid = self(images)
        return tokens, grid, {}

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Recompute what lies inside in the backward pass; most tokenizers keep too little for that to matter."""


class WindowTokenizer(Tokenizer):
    """A tokenizer of zero padded windows, one layer of them after the other.

    Args:
        in_channels: channels of the images.
        windows: side, stride and padding of every layer's windows, in cells of its input.
    """

    def __init__(self, in_channels: int, windows: Sequence[tuple[int, int, int]]) -> None:
        super().__init__(in_channels, prod(stride for _, stride, _ in windows))
        self.windows = tuple(windows)

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns behind every layer, for an image of this size in pixels; errors as :meth:`grid`."""
        grids = [(height, width)]
        for window in self.windows:
            grids.append(window_grid(*window, *grids[-1]))
        return grids[1:]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return self.grids(height, width)[-1]


def patch_grid(patch_size: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of square patches that tile an image of this size, all in pixels.

    Raises:
        ValueError: the patches do not tile the image.
    """
    for name, size in (("height", height), ("width", width)):
        if size % patch_size or not size:
            fits = [side for side in range(1, size + 1) if size % side == 0]
            patch = min(fits, key=lambda side: abs(side - patch_size), default=1)
            nearest = max(round(size / patch_size), 1) * patch_size
            raise ValueError(
                f"patch_size {patch_size} does not divide the image {name} {size}: "
                f"choose patch_size {patch}, or a {name} of {nearest}"
            )
    return height // patch_size, width // patch_size


def window_grid(kernel_size: int, stride: int, padding: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the windows that fit into a zero padded image, all sizes in pixels.

    Raises:
        ValueError: the image, padding included, is smaller than one window.
    """
    smallest = max(kernel_size - 2 * padding, 1)
    for name, size in (("height", height), ("width", width)):
        if size < smallest:
            raise ValueError(
                f"an image {name} of {size} leaves no room for a window of {kernel_size} pixels with a "
                f"padding of {padding}: choose a {name} of {smallest} or more"
            )
    room = 2 * padding - kernel_size
    return (height + room) // stride + 1, (width + room) // stride + 1
