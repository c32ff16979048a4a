"""``recipes/small_data.py`` on ciFAIR-10, whose test images repeat no training image, with 50 images of each class.

    hybridvit study recipes/small_data_cifair10.py

This is the setting of the data-efficient image classification benchmark (arXiv 2108.13122), in which a tuned WRN-16-8
reaches 58 %. The authors' folder ciFAIR-10 (arXiv 1902.00423) is read from ``--base.data.root FOLDER`` or from
HYBRIDVIT_DATA. The recipe needs a GPU and has not been run yet.
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
