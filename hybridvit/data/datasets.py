"""Labelled images in memory, from scikit-learn's digits, a folder per class, or one .npz file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.folder import read_folder
from hybridvit.data.npz import read_npz
from hybridvit.data.splits import ImageSet, Splits
from hybridvit.data.subset import stratified_order, stratified_split


@dataclass(frozen=True)
class DataConfig:
    """Which images to learn from, and how they are split.

    Attributes:
        root: a folder with one folder of images for each class, or the same under train/, val/ and
            test/; or an .npz file in the MedMNIST layout. None: scikit-learn's 1,797 digits of 8x8 pixels.
        image_size: height and width in pixels that images are cropped and resized to; None: as they are.
        train_images: number of labelled images to use, a nested stratified subset; None: all.
        validation: share of those set apart for selection, where the data has no validation split.
        test: share of all images set apart for the test, where the data has no test split.
        split_seed: seed of the splits; the run's own seed draws the subset.
        skip_unreadable: go on without image files that cannot be read, naming them.
    """

    root: str | None = None
    image_size: int | tuple[int, int] | None = None
    train_images: int | None = None
    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is a share in [0, 1), given {share}")
        if self.train_images is not None and self.train_images < 1:
            raise ValueError(f"train_images must be at least 1, given {self.train_images}")


def load(config: DataConfig, seed: int) -> Splits:
    """Reads the images and splits them; ``seed`` draws the subset when fewer images are asked for.

    Raises:
        ValueError: root is neither a folder nor an .npz file, holds no images, a class has none,
            a file cannot be read, or more training images are asked for than there are.
    """
    splits = _read(config)
    train, validation, test = splits.train, splits.validation, splits.test
    if not len(test) and config.test:
        kept, apart = stratified_split(train.labels, config.test, config.split_seed)
        train, test = train[kept], train[apart]
    if config.train_images is not None:
        if config.train_images > len(train):
            raise ValueError(f"train_images is {config.train_images}, but there are only {len(train)} training images")
        train = train[np.sort(stratified_order(train.labels, seed)[: config.train_images])]
    if not len(validation) and config.validation:
        kept, apart = stratified_split(train.labels, config.validation, config.split_seed)
        train, validation = train[kept], train[apart]
    if not len(train):
        raise ValueError("no image is left to train on: lower data.test or data.validation")
    return replace(splits, train=train, validation=validation, test=test)


def _read(config: DataConfig) -> Splits:
    if config.root is None:
        return _resized(_digits(), config.image_size)
    root = Path(config.root).expanduser()
    if not root.exists():
        raise ValueError(f"data.root {str(root)!r} is not there")
    if root.is_dir():
        return read_folder(root, config.image_size, config.skip_unreadable)
    if root.suffix == ".npz":
        return _resized(read_npz(root), config.image_size)
    raise ValueError(f"data.root {str(root)!r} is neither a folder nor an .npz file")


@cache
def _digits() -> Splits:
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    everything = ImageSet(images, digits.target.astype(np.int64))
    return Splits(
        "digits", tuple(str(name) for name in digits.target_names), everything, everything[:0], everything[:0]
    )


def _resized(splits: Splits, image_size: int | tuple[int, int] | None) -> Splits:
    """The same splits at another size in pixels (bicubic, antialiased)."""
    shape = splits.train.images.shape[-2:]
    if image_size is None:
        return splits
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size == shape:
        return splits

    import torch
    from torchvision.transforms.v2 import functional

    def resize(part: ImageSet) -> ImageSet:
        if not len(part):
            return ImageSet(np.zeros((0, part.images.shape[1], *size), dtype=np.uint8), part.labels)
        images: NDArray[np.uint8] = functional.resize(
            torch.from_numpy(part.images), list(size), interpolation=functional.InterpolationMode.BICUBIC
        ).numpy()
        return ImageSet(images, part.labels)

    return replace(splits, train=resize(splits.train), validation=resize(splits.validation), test=resize(splits.test))
