"""Multi-Fashion+MNIST: a digit and a piece of clothing in one picture, one head for each, on one trunk.

The published setting (ResNet-18, 120,000 pictures of 36x36 pixels), for a GPU; on a CPU take
``multi_fashion_mnist_laptop.py``. Wants mnist and fashionmnist: ``--base.data.root FOLDER``, or HYBRIDVIT_DATA.

    hybridvit study recipes/multi_fashion_mnist.py
"""

from hybridvit.backbones import ConvConfig, ResNetConfig, ViTConfig
from hybridvit.data.load import DataConfig
from hybridvit.hydra.balance.kinds import PCGradConfig, SumConfig, UncertaintyConfig
from hybridvit.recipe import MultiTaskStudy, Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig

RESNET18 = ResNetConfig(stem="imagenet")
HYBRID = ViTConfig(
    embed_dim=288,
    depth=9,
    num_heads=9,
    mlp_ratio=3.0,
    tokenizer=ConvConfig(channels=(72, 144, 288), strides=(2, 1, 2)),
    feedforward="conv",
    pooling="seq",
    drop_path=0.1,
)


def base() -> Recipe:
    """What is held fixed: 20 epochs of a batch of 256."""
    return Recipe(
        name="multi_fashion_mnist",
        model=RESNET18,
        data=DataConfig(dataset="multi_fashion_mnist"),
        tasks={
            "digit": ClassificationConfig(target="left", label_smoothing=0.1),
            "clothing": ClassificationConfig(target="right", label_smoothing=0.1),
        },
        optim=AdamWConfig(lr=1e-3, weight_decay=0.05),
        train=TrainConfig(steps=9400, batch_size=256, ema=0.999, log_every=50, evaluate_every=940),
    )


def study() -> MultiTaskStudy:
    """Two trunks, three ways of balancing, three seeds."""
    return MultiTaskStudy(
        title="Does a digit's head help or hurt a clothing's head on the same trunk?",
        base=base(),
        trunks={"ResNet-18": RESNET18, "Hybrid": HYBRID},
        balances={"sum": SumConfig(), "uncertainty": UncertaintyConfig(), "PCGrad": PCGradConfig()},
    )
