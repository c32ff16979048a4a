"""Image files: their sizes, their pixels, and many of them side by side in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hybridvit.data.readers.geometry import Size

ORIENTATION = 0x0112  # EXIF; from 5 on height and width are exchanged
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", "LA", "F", *DEEP_MODES)
MASK_MODES = ("1", "L", "P", "I", "I;16")
NAMED_AT_MOST = 5  # files that a message names

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Header:
    """What a file says of an image before its pixels are read.

    Attributes:
        size: height and width in pixels, turned as its EXIF orientation says.
        turned: whether that exchanged height and width.
        grey: whether it has no colours.
    """

    size: Size
    turned: bool
    grey: bool


def in_threads(function: Callable[[K], V], items: Iterable[K | None]) -> tuple[dict[K, V], dict[K, str]]:
    """The function of every different item but None, side by side; and of items for which it fails, why."""

    def tried(item: K) -> V | Exception:
        try:
            return function(item)
        except Exception as error:  # PIL's decoders also raise SyntaxError, ValueError, struct.error ...
            return error

    different = list(dict.fromkeys(item for item in items if item is not None))
    results: dict[K, V] = {}
    failures: dict[K, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for item, result in zip(different, pool.map(tried, different), strict=True):
            if isinstance(result, Exception):
                failures[item] = _reason(result)
            else:
                results[item] = result
    return results, failures


def read_header(path: Path) -> Header:
    """Reads no pixels, and raises whatever PIL does."""
    with Image.open(path) as file:
        turned = file.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        width, height = file.size
        return Header((width, height) if turned else (height, width), turned, file.mode in GREY_MODES)


def common_size(headers: Mapping[Path, Header], image_size: int | tuple[int, int] | None) -> Size:
    """Height and width that images get: those asked for, or the one size that all of them have.

    Raises:
        ValueError: nothing is asked for and they differ.
    """
    if image_size is not None:
        return (image_size, image_size) if isinstance(image_size, int) else image_size
    sizes: dict[Size, Path] = {}
    for path, header in headers.items():
        sizes.setdefault(header.size, path)
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise ValueError(
            f"images differ in size ({one} is {first[0]}x{first[1]}, {other} is {second[0]}x{second[1]} pixels): "
            "say which size to use, as in --data.image_size 64"
        )
    return next(iter(sizes), (1, 1))


def read_image(path: Path, channels: int, size: Size) -> NDArray[np.uint8]:
    """One image as ``[c, h, w]`` uint8, cropped (centre) and resized to ``size`` in pixels.

    Raises:
        ValueError: the file is missing or no image.
    """
    try:
        with Image.open(path) as file:
            return fit_image(file, channels, size)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {_reason(error)}") from error


def fit_image(image: Image.Image, channels: int, size: Size) -> NDArray[np.uint8]:
    """A PIL image as ``[c, h, w]`` uint8, turned as its EXIF orientation says, cropped (centre) and resized."""
    image = to_8_bits(ImageOps.exif_transpose(image), channels == 1)
    if image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def to_8_bits(image: Image.Image, grey: bool) -> Image.Image:
    """The image as 8-bit grey or RGB; more than 8 bits are scaled, not clipped."""
    if image.mode in (*DEEP_MODES, "F"):
        values = np.asarray(image, dtype=np.float64)
        depth = 65535.0 if image.mode in DEEP_MODES or values.max() > 255 else 255.0
        image = Image.fromarray((values.clip(0, depth) * (255 / depth)).round().astype(np.uint8))
    return image.convert("L" if grey else "RGB")


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A label map ``[h, w]`` of class indices.

    Raises:
        ValueError: the file does not hold class indices of 8 bits.
    """
    with Image.open(path) as file:
        if file.mode not in MASK_MODES:
            raise ValueError(f"an image of mode {file.mode}, expected 8-bit class indices (grey or with a palette)")
        values = np.asarray(ImageOps.exif_transpose(file))
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise ValueError(f"values from {values.min()} to {values.max()}, expected class indices from 0 to 255")
    return values.astype(np.uint8)


def fit_mask(values: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A label map cropped (centre) and resized to ``size``, each pixel from its nearest."""
    if values.shape == size:
        return values
    return np.asarray(ImageOps.fit(Image.fromarray(values), (size[1], size[0]), Image.Resampling.NEAREST))


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path."""
    if isinstance(error, ValueError) and error.__cause__ is not None and isinstance(error.__cause__, Exception):
        return _reason(error.__cause__)
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def list_unreadable(unreadable: Mapping[Path, str]) -> str:
    """How many files cannot be read, the first of them, and why."""
    named = "; ".join(f"{path} ({why})" for path, why in sorted(unreadable.items())[:NAMED_AT_MOST])
    more = f"; and {len(unreadable) - NAMED_AT_MOST} more" if len(unreadable) > NAMED_AT_MOST else ""
    return f"{len(unreadable)} file{'s' * (len(unreadable) > 1)} cannot be read: {named}{more}"
