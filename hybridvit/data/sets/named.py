"""Published data sets by name, each with all its target columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from hybridvit.data.samples import Splits
from hybridvit.data.sets.camvid import read_camvid
from hybridvit.data.sets.cifair import read_cifair
from hybridvit.data.sets.cifar import read_cifar
from hybridvit.data.sets.digits import read_digits
from hybridvit.data.sets.mnist import multi_fashion_mnist, read_mnist_like

# Each takes the folder that holds the files; None: the one that the variable HYBRIDVIT_DATA names, see sets/place.py.
NAMED: dict[str, Callable[[Path | None], Splits]] = {
    "digits": lambda root: read_digits(),  # comes with scikit-learn
    "mnist": partial(read_mnist_like, name="mnist"),
    "fashionmnist": partial(read_mnist_like, name="fashionmnist"),
    "multi_fashion_mnist": multi_fashion_mnist,
    "cifar10": partial(read_cifar, name="cifar10"),
    "cifar100": partial(read_cifar, name="cifar100"),
    "cifair10": partial(read_cifair, name="cifair10"),
    "cifair100": partial(read_cifair, name="cifair100"),
    "camvid": read_camvid,
}
