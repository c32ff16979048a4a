"""Duplicate images: equal by their pixels, or nearly equal by a small grey copy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hybridvit.data.readers.geometry import Size
from hybridvit.data.readers.image_io import read_header, read_image

SIDE = 16  # of the small grey copy
BLOCKS = 4  # blocks along a side of it, which images are first compared by
DIFFERENCE = 3.0  # root mean square, in grey levels of 255, up to which small copies are the same
CONTRAST = 0.1  # ... and in standard deviations of the copy, so that images of one colour are not alike


@dataclass(frozen=True)
class ImageSummary:
    """What is kept of an image to find duplicates.

    Attributes:
        digest: of its size and pixels.
        small: grey copy of 16x16 pixels.
        size: height and width in pixels, upright.
        grey: whether it has no colours.
    """

    digest: bytes
    small: NDArray[np.uint8]
    size: Size
    grey: bool


def summarise_image(path: Path) -> ImageSummary:
    """Reads the whole image.

    Raises:
        Exception: of many kinds, where it cannot be read.
    """
    header = read_header(path)
    pixels = read_image(path, 1 if header.grey else 3, header.size)
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode()).digest()
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) == 3 else pixels[0])
    small = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    return ImageSummary(digest, small, header.size, header.grey)


def near_duplicates(small: NDArray[np.uint8], splits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of images ``[p, 2]`` of different splits that are nearly equal, as after resizing or saving again.

    Args:
        small: grey copies ``[n, 16, 16]``.
        splits: which split each image is in, ``[n]``.
    """
    from scipy.spatial import cKDTree

    values = small.astype(np.float32)
    contrast = values.std(axis=(1, 2))
    allowed = np.minimum(DIFFERENCE, CONTRAST * contrast)
    clear = allowed > 0.2
    width = SIDE // BLOCKS
    blocks = values.reshape(-1, BLOCKS, width, BLOCKS, width).mean(axis=(2, 4)).reshape(-1, BLOCKS**2)
    pairs = [np.zeros((0, 2), np.int64)]
    for split in range(int(splits.max(initial=0))):
        one, rest = np.flatnonzero(clear & (splits == split)), np.flatnonzero(clear & (splits > split))
        # blocks are means, so their root mean square difference is never above that of the copies
        trees = cKDTree(blocks[rest]), cKDTree(blocks[one])
        near = np.sort(trees[0].sparse_distance_matrix(trees[1], DIFFERENCE * BLOCKS, output_type="ndarray"))
        candidates = np.stack([one[near["j"]], rest[near["i"]]], axis=1)
        for some in np.array_split(candidates, len(candidates) // 10_000 + 1):  # their differences fit in memory
            difference = np.sqrt(((values[some[:, 0]] - values[some[:, 1]]) ** 2).mean(axis=(1, 2)))
            pairs.append(some[difference <= allowed[some].min(axis=1)])
    return np.concatenate(pairs)


def groups(keys: Sequence[object]) -> list[list[int]]:
    """Indices of equal keys, where there are at least two of them."""
    members: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(index)
    return [indices for indices in members.values() if len(indices) > 1]
