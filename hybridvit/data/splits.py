"""Images with labels, and the three parts that a study needs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageSet:
    """Labelled images in memory.

    Attributes:
        images: ``[n, c, h, w]``, uint8.
        labels: class indices ``[n]``, int64; -1 where unlabelled.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | NDArray[np.integer]) -> ImageSet:
        return ImageSet(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A data set ready for use; a part the data does not have is empty.

    Attributes:
        name: what the data set is called in reports.
        class_names: the classes, in the order of their indices.
        train: images to learn from.
        validation: images to select on.
        test: images to report on, read once.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    test: ImageSet

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        c, h, w = self.train.images.shape[1:]
        return c, h, w
