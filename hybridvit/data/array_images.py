"""Images given as arrays, tensors or PIL images, as ``[c, h, w]`` uint8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from hybridvit.data.readers.image_io import GREY_MODES, to_8_bits

MOST_CHANNELS = 4


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """A ValueError from within says first what it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{subject}: {error}") from error


def to_array(value: Any) -> NDArray[Any]:
    """The array of a tensor on any device, or of whatever NumPy takes."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def as_image(image: Any) -> NDArray[np.uint8]:
    """One image as ``[c, h, w]``: a PIL image, or an array ``[h, w]``, ``[h, w, c]`` or ``[c, h, w]``.

    PIL images of a grey mode get one channel, all others three.

    Raises:
        ValueError: as for :func:`as_images`.
    """
    if isinstance(image, Image.Image):
        pixels = np.asarray(to_8_bits(image, grey=image.mode in GREY_MODES))
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    array = to_array(image)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"an image must be a PIL image or an array [h, w], [h, w, c] or [c, h, w], given a "
            f"{type(image).__name__} of shape {list(array.shape)}"
        )
    return as_images(array[None])[0]


def as_images(images: ArrayLike) -> NDArray[np.uint8]:
    """Images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` as ``[n, c, h, w]`` uint8.

    The axis with at most four entries holds the channels. Floats must lie in [0, 1]; they are multiplied by 255 and
    rounded, which gives back the bytes that torchvision's ``ToTensor`` was given.

    Raises:
        ValueError: no such layout, both axes may hold the channels, or values that are no pixels.
    """
    array = to_array(images)
    given = list(array.shape)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise ValueError(f"images must be [n, h, w], [n, h, w, c] or [n, c, h, w], given {array.ndim} axes {given}")
    else:
        first, last = array.shape[1] <= MOST_CHANNELS, array.shape[3] <= MOST_CHANNELS
        if not first and not last:
            raise ValueError(f"images of 1 to {MOST_CHANNELS} channels are expected, given {given}")
        if first and last:
            raise ValueError(
                f"images {given} may be [n, h, w, c] or [n, c, h, w]: height or width must exceed {MOST_CHANNELS}"
            )
        array = array.transpose(0, 3, 1, 2) if last else array
    if array.dtype.kind == "f":
        low, high = (bound(array, axis=(1, 2, 3)) for bound in (np.min, np.max))
        wrong = np.flatnonzero(~((low >= 0) & (high <= 1)))
        if len(wrong):
            item = f" in item {wrong[0]}" if len(array) > 1 else ""
            raise ValueError(
                f"images of floats must lie in [0, 1], given {low[wrong[0]]:g} to {high[wrong[0]]:g}{item}: leave out "
                "Normalize and divide by 255, or give uint8"
            )
        array = np.rint(array * 255)
    elif array.dtype != np.uint8:
        raise ValueError(f"images must be uint8, or floats in [0, 1], given {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def shape_text(shape: tuple[int, ...]) -> str:
    """Channels, height and width in words."""
    return f"{shape[0]} channel{'s' * (shape[0] > 1)} of {shape[1]}x{shape[2]} pixels"
