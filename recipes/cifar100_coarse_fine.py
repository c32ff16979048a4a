"""CIFAR-100 with two heads on one trunk: the 20 coarse and the 100 fine classes. 10,000 images, two CPU cores.

Wants CIFAR-100: ``--base.data.root FOLDER``, or HYBRIDVIT_DATA.

    hybridvit study recipes/cifar100_coarse_fine.py

9 runs of 300 steps, far from convergence, in 15 minutes on a busy 2-core Xeon. Δm -1.6 %: fine +1.0, coarse -4.2.
"""

from hybridvit.backbones import ConvConfig, ViTConfig
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.recipe import MultiTaskStudy, Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig

HYBRID = ViTConfig(
    embed_dim=128,
    depth=4,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=ConvConfig(channels=(32, 64, 128), strides=(2, 1, 2)),
    pooling="seq",
)


def base() -> Recipe:
    """What is held fixed."""
    return Recipe(
        name="cifar100_coarse_fine",
        model=HYBRID,
        data=DataConfig(dataset="cifar100", train_images=10_000, stratify="fine"),
        augment=AugmentConfig(crop_padding=4, flip=True),
        tasks={
            "fine": ClassificationConfig(target="fine", label_smoothing=0.1),
            "coarse": ClassificationConfig(target="coarse", label_smoothing=0.1),
        },
        optim=AdamWConfig(lr=2e-3, weight_decay=0.1, beta2=0.98),
        train=TrainConfig(steps=300, batch_size=64, precision="fp32", ema=0.98, log_every=20, evaluate_every=300),
    )


def study() -> MultiTaskStudy:
    """The plain sum, three seeds."""
    return MultiTaskStudy(
        title="Do coarse and fine classes help each other on one trunk?", base=base(), trunks={"Hybrid": HYBRID}
    )
