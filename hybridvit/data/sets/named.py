"""The named data sets: the one place where they are listed.

A new data set is a file beside this one, whose reader gives all its target columns, and an entry in ``NAMED``. Its
reader says which files it needs, and whether they are downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hybridvit.data.samples import Splits
from hybridvit.data.sets.camvid import read_camvid
from hybridvit.data.sets.cifair import read_cifair
from hybridvit.data.sets.cifar import read_cifar
from hybridvit.data.sets.digits import read_digits
from hybridvit.data.sets.mnist import multi_fashion_mnist, read_mnist_like

# Each takes the folder that holds the files; None: the one that data_home.find looks in.
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

if TYPE_CHECKING:
    DatasetName = str
else:
    DatasetName = Literal[tuple(NAMED)]
