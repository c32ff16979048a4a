"""``recipes/small_data.py`` on the 100 classes of CIFAR-100, from 1 % to 100 % of its images.

    hybridvit study recipes/small_data_cifar100.py

The recipe needs CIFAR-100 and a GPU, as the study it is made from. It has not been run yet.
"""

from dataclasses import replace
from pathlib import Path

import hybridvit as hv


def study() -> hv.Study:
    """The same models and sizes."""
    cifar10 = hv.read_recipe(Path(__file__).with_name("small_data.py"), "study")
    base = replace(
        cifar10.base,
        name="small_data_cifar100",
        data=replace(cifar10.base.data, dataset="cifar100"),
        tasks={"label": hv.ClassificationConfig(target="fine", label_smoothing=0.1)},
    )
    return replace(cifar10, title="What is a built-in assumption worth on CIFAR-100, in images?", base=base)
