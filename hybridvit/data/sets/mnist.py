"""MNIST and Fashion-MNIST, and the two laid over each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import pixels
from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits
from hybridvit.data.sets.data_home import read_train_and_test

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashionmnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
TORCHVISION = {"mnist": "MNIST", "fashionmnist": "FashionMNIST"}
SIDE = 36  # pixels of the overlaid images: two of 28, the second 8 to the right and below


def read_mnist_like(root: Path | None, name: Literal["mnist", "fashionmnist"]) -> Splits:
    """60,000 training and 10,000 test images of 28x28 grey pixels, with the column "label".

    Read from ``NAME.npz`` in the MedMNIST layout, or as torchvision stores them; downloaded where neither exists.

    Args:
        root: the folder that holds it, as for :func:`find`.
        name: mnist (LeCun et al. 1998) or fashionmnist (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747).

    Raises:
        ValueError: the files are missing and cannot be downloaded, or they are damaged.
    """
    kind = TORCHVISION[name]
    path, pairs = read_train_and_test(root, name, kind, f"{kind}/raw")
    train, test = (_samples(path, split, *pair) for split, pair in zip(("train", "test"), pairs, strict=True))
    return Splits(name, {"label": Column("class", CLASSES[name])}, train, train[:0], test)


def multi_fashion_mnist(
    root: Path | None, seed: int = 0, train_images: int = 120_000, test_images: int = 20_000
) -> Splits:
    """Multi-Fashion+MNIST: a digit at the upper left and an item of clothing at the lower right, 36x36 grey pixels.

    The columns are "left", the digit, and "right", the item. After the data set of the same name (Lin et al. 2019,
    Pareto Multi-Task Learning, arXiv 1912.12854), of which only the images were published, not how they were made.
    As there: 36x36 pixels, 120,000 training and 20,000 test images made from the originals' own training and test
    images, one of each at the upper left and lower right corner (as in MultiMNIST, Sabour et al. 2017, arXiv
    1710.09829), overlapping. That the digit is at the left is read from published results, where the first task is the
    easier one. Differently, or not known to be the same: which images are paired and in which order, and that where
    they overlap the brighter pixel shows.

    Every round pairs all digits with all items, both in random order, so that 120,000 training images show each
    original twice; fewer are the first ones of them. A validation split drawn from all of them therefore shares
    originals with the training images, as it does in the literature; 60,000 or fewer share none.

    Args:
        root: the folder with both originals, as for :func:`read_mnist_like`.
        seed: of the pairs; the same images on every machine.
        train_images: number of training images.
        test_images: number of test images.

    Raises:
        ValueError: an original is missing, or a number is less than 1.
    """
    for what, count in (("train_images", train_images), ("test_images", test_images)):
        if count < 1:
            raise ValueError(f"{what} must be at least 1, given {count}")
    digits, items = (read_mnist_like(root, name) for name in ("mnist", "fashionmnist"))
    train = _overlaid(digits.train, items.train, train_images, seed, 0)
    test = _overlaid(digits.test, items.test, test_images, seed, 1)
    columns = {"left": digits.columns["label"], "right": items.columns["label"]}
    return Splits("multi_fashion_mnist", columns, train, train[:0], test)


def _overlaid(left: Samples, right: Samples, count: int, seed: int, split: int) -> Samples:
    # RandomState, not default_rng: its stream is the same in every version of numpy (NEP 19)
    first, second = (
        _endless(np.random.RandomState([seed, split, side]), len(samples), count)
        for side, samples in enumerate((left, right))
    )
    upper, lower = pixels(left.views[ONE_VIEW]), pixels(right.views[ONE_VIEW])
    h, w = upper.shape[-2:]
    images = np.zeros((count, 1, SIDE, SIDE), np.uint8)
    images[:, :, :h, :w] = upper[first]
    corner = images[:, :, SIDE - h :, SIDE - w :]
    np.maximum(corner, lower[second], out=corner)
    return Samples({ONE_VIEW: images}, {"left": left.targets["label"][first], "right": right.targets["label"][second]})


def _endless(rng: np.random.RandomState, size: int, count: int) -> NDArray[np.int64]:
    """``count`` indices: all of 0 .. size - 1 in random order, again and again."""
    rounds = [rng.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(rounds)[:count].astype(np.int64)


def _samples(path: Path, split: str, images: NDArray[Any], labels: NDArray[np.int64]) -> Samples:
    if images.ndim != 3 or images.dtype != np.uint8:
        given = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"{path}: {split}_images must be uint8 [n, h, w], given {given}")
    return Samples({ONE_VIEW: images[:, None]}, {"label": labels})
