"""``recipes/small_data.py`` with 50 images of each class and ciFAIR-10's test images, which repeat no training image.

    hybridvit study recipes/small_data_cifair10.py

The setting of the data-efficient image classification benchmark (arXiv 2108.13122), where a tuned WRN-16-8 has 58 %.
Wants the folder ciFAIR-10 of its authors (arXiv 1902.00423) in ``--base.data.root`` or HYBRIDVIT_DATA; not run yet.
"""

from dataclasses import replace
from pathlib import Path

import hybridvit as hv


def study() -> hv.Study:
    """The same models; 40 % of the 500 images choose the learning rate, as in the benchmark."""
    cifar10 = hv.read_recipe(Path(__file__).with_name("small_data.py"), "study")
    data = replace(cifar10.base.data, dataset="cifair10", validation=0.4)
    return replace(
        cifar10,
        title="Which model learns most from 50 images of each class?",
        base=replace(cifar10.base, name="small_data_cifair10", data=data),
        train_sizes=(500,),
    )
