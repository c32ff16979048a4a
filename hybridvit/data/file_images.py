"""Images that stay on disk: they have the shape of an array and are read when asked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.readers.geometry import Size
from hybridvit.data.readers.image_io import in_threads, list_unreadable, read_image

STATISTICS_IMAGES = 5_000  # at most, that statistics of a data set are taken from
STATISTICS_BYTES = 2**28  # their pixels are held for a moment


class FileImages:
    """Images ``[n, c, h, w]`` as uint8, each in a file; cropped (centre) and resized when they are read.

    An index gives others like it and reads nothing. It travels to worker processes as a few bytes for each image.

    Args:
        paths: the files ``[n]`` as bytes (one block of memory, which forked processes share); empty: a missing
            image, which reads as zeros.
        channels: 1 or 3.
        size: height and width in pixels that images are brought to.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: NDArray[np.bytes_], channels: int, size: Size) -> None:
        self.paths, self.channels, self.size = paths, channels, size

    @classmethod
    def of(cls, paths: Sequence[Path | None], channels: int, size: Size) -> FileImages:
        """From paths, None for a missing image."""
        names = [os.fsencode(path) if path is not None else b"" for path in paths]
        return cls(np.array(names, dtype=np.bytes_).reshape(len(names)), channels, size)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, channels, height and width."""
        return len(self.paths), self.channels, *self.size

    @property
    def nbytes(self) -> int:
        """What the pixels would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: slice | NDArray[np.integer] | NDArray[np.bool_]) -> FileImages:
        return FileImages(self.paths[index], self.channels, self.size)

    def path(self, index: int) -> Path | None:
        """The file of one image; None: the image is missing."""
        name = bytes(self.paths[index])
        return Path(os.fsdecode(name)) if name else None

    def read_one(self, index: int) -> NDArray[np.uint8]:
        """The pixels of one image, ``[c, h, w]``.

        Raises:
            ValueError: naming the file that is gone or no image.
        """
        path = self.path(index)
        return np.zeros(self.shape[1:], np.uint8) if path is None else read_image(path, self.channels, self.size)

    def read(self) -> NDArray[np.uint8]:
        """The pixels of all images, ``[n, c, h, w]``.

        Raises:
            ValueError: naming the files that are gone or no images.
        """
        pixels, unreadable = self.read_readable()
        if unreadable:
            raise ValueError(list_unreadable(unreadable))
        return pixels

    def read_readable(self) -> tuple[NDArray[np.uint8], dict[Path, str]]:
        """The pixels of all images, ``[n, c, h, w]``, read in threads; and why files cannot be read."""
        images = np.zeros(self.shape, np.uint8)

        def fill(job: tuple[int, Path]) -> None:
            index, path = job
            images[index] = read_image(path, self.channels, self.size)

        paths = [self.path(index) for index in range(len(self))]
        _, failures = in_threads(fill, [(index, path) for index, path in enumerate(paths) if path is not None])
        return images, {path: why for (_, path), why in failures.items()}

    def digest(self) -> bytes:
        """SHA-256 of which files these are, how large and from when, and of what is made of them; not of pixels."""
        digest = hashlib.sha256(repr(self.shape).encode())
        for index in range(len(self)):
            path = self.path(index)
            about = path.stat() if path is not None and path.exists() else None
            digest.update(repr((path, about and (about.st_size, about.st_mtime_ns))).encode())
        return digest.digest()


Images = NDArray[np.uint8] | FileImages  # [n, c, h, w]


def pixels(images: Images) -> NDArray[np.uint8]:
    """Images ``[n, c, h, w]`` in memory: arrays as they are, files read."""
    return images.read() if isinstance(images, FileImages) else images


def for_statistics(images: Images) -> NDArray[np.uint8]:
    """All images of an array; of files an evenly spaced sample: at most 5,000 images, and at most 256 MiB of pixels.

    Raises:
        ValueError: a file of the sample cannot be read.
    """
    if not isinstance(images, FileImages):
        return images
    count = min(STATISTICS_IMAGES, STATISTICS_BYTES // max(int(np.prod(images.shape[1:])), 1), len(images))
    return images[np.linspace(0, len(images) - 1, max(count, 1)).round().astype(np.int64)].read()


def join_images(several: Sequence[Any]) -> Any:
    """Images of several data sets one after the other, all of them arrays or all files.

    Raises:
        ValueError: some are and some are not.
    """
    files = [images for images in several if isinstance(images, FileImages)]
    if not files:
        return np.concatenate(several)
    if len(files) < len(several):
        raise ValueError(
            "some data sets are in memory (.npz files are), while others stay on disk because they take more than "
            "data.memory: allow more, or save all images as files"
        )
    return FileImages(np.concatenate([images.paths for images in files]), files[0].channels, files[0].size)
