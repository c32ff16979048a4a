"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, Learning multiple layers of features from tiny images)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits
from hybridvit.data.sets.data_home import read_train_and_test

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE = tuple(SUPERCLASSES)
FINE = tuple(sorted(" ".join(SUPERCLASSES.values()).split()))
COARSE_OF_FINE = np.array([[name in text.split() for text in SUPERCLASSES.values()].index(True) for name in FINE])

COLUMNS = {
    "cifar10": {"label": Column("class", CIFAR10)},
    "cifar100": {"fine": Column("class", FINE), "coarse": Column("class", COARSE)},
}
TORCHVISION = {"cifar10": ("CIFAR10", "cifar-10-batches-py"), "cifar100": ("CIFAR100", "cifar-100-python")}


def read_cifar(root: Path | None, name: Literal["cifar10", "cifar100"]) -> Splits:
    """50,000 training and 10,000 test images of 32x32 pixels.

    CIFAR-10 has the column "label", CIFAR-100 "fine" (100 classes) and "coarse" (20 groups of five of them). Read from
    ``NAME.npz`` in the MedMNIST layout (labels are the fine ones), or as torchvision stores them; ``root`` is the
    folder that holds it, as for :func:`find`.

    Raises:
        ValueError: the files are missing or damaged.
    """
    path, pairs = read_train_and_test(root, name, *TORCHVISION[name])
    train, test = (cifar_samples(path, COLUMNS[name], *pair) for pair in pairs)
    return Splits(name, COLUMNS[name], train, train[:0], test)


def cifar_samples(
    path: Path, columns: Mapping[str, Column], images: NDArray[Any], labels: NDArray[np.int64]
) -> Samples:
    """From images ``[n, h, w, c]`` and labels ``[n]`` of the first column, the finest there is.

    Raises:
        ValueError: naming the file whose images or labels are not CIFAR's.
    """
    finest, *coarser = columns
    classes = len(columns[finest].names)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) != len(labels):
        raise ValueError(f"{path}: expected uint8 images [n, 32, 32, 3] with a label each, given {list(images.shape)}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{path}: labels go from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Samples({ONE_VIEW: pixels}, {finest: labels, **dict.fromkeys(coarser, COARSE_OF_FINE[labels])})
