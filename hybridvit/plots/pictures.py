"""Pictures for a page: images as PNG, enlarged without blur, with masks laid over them."""

from __future__ import annotations

import colorsys
import io
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

GOLDEN = 0.618033988749895  # hues a golden section of the circle apart stay distinct however many there are


def to_rgb(image: Pixels) -> Pixels:
    """``[c, h, w]`` of 1, 3 or any number of channels -> ``[h, w, 3]``; others than 1 and 3 as their mean, in grey."""
    if len(image) == 3:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    grey = np.round(image.mean(axis=0)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def enlarged(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """``[h, w, ...]`` with each pixel repeated until the longer side has at least ``side``."""
    factor = max(1, -(-side // max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def class_colours(count: int) -> Pixels:
    """A colour for each class, ``[count, 3]``: neighbours differ in hue and in brightness."""
    values = (0.95, 0.75, 1.0)
    rows = [colorsys.hsv_to_rgb((0.57 + k * GOLDEN) % 1, 0.85 if k % 2 else 0.7, values[k % 3]) for k in range(count)]
    return np.round(255 * np.array(rows).reshape(count, 3)).astype(np.uint8)


def with_mask(
    pixels: Pixels, mask: NDArray[Any], colours: Pixels, clear: int | None = None, share: float = 1.0
) -> Pixels:
    """Colours of the classes laid over an image.

    Args:
        pixels: ``[h, w, 3]``.
        mask: class indices of any size with about the same shape, ``[mh, mw]``; other values than an index: left as is.
        colours: ``[classes, 3]``.
        clear: a class that is left as is, as a background.
        share: of the colours in the mix; 1: they hide the image.
    """
    height, width = pixels.shape[:2]
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    laid = mask[rows][:, columns].astype(np.int64)
    shown = (laid >= 0) & (laid < len(colours))
    if clear is not None:
        shown &= laid != clear
    out = pixels.astype(np.float64)
    out[shown] = (1 - share) * out[shown] + share * colours[laid[shown]]
    return np.round(out).astype(np.uint8)


def heat(values: NDArray[np.floating]) -> Pixels:
    """Non-negative values ``[rows, columns]`` as colours ``[rows, columns, 3]``, black for 0."""
    shares = values / max(float(values.max()), 1e-12)
    colours = matplotlib.colormaps["magma"](shares)
    return np.asarray(np.round(255 * colours[..., :3]), dtype=np.uint8)


def encode_png(pixels: Pixels) -> bytes:
    """``[h, w, 3]`` as a PNG."""
    data = io.BytesIO()
    nameless: Any = {"Software": None}
    matplotlib.image.imsave(data, pixels, format="png", metadata=nameless)
    return data.getvalue()
