"""Multi-Fashion+MNIST: a digit and a piece of clothing in one picture, one head for each, on one trunk.

The published setting (ResNet-18, 120,000 pictures of 36x36 pixels), for a GPU; on a CPU take
``multi_fashion_mnist_laptop.py``. Wants mnist and fashionmnist: ``--base.data.root FOLDER``, or HYBRIDVIT_DATA.

    hybridvit study recipes/multi_fashion_mnist.py
"""

import hybridvit as hv

RESNET18 = hv.ResNetConfig(stem="imagenet")
HYBRID = hv.ViTConfig(
    embed_dim=288,
    depth=9,
    num_heads=9,
    mlp_ratio=3.0,
    tokenizer=hv.ConvConfig(channels=(72, 144, 288), strides=(2, 1, 2)),
    feedforward="conv",
    pooling="seq",
    drop_path=0.1,
)


def base() -> hv.Recipe:
    """What is held fixed: 20 epochs of a batch of 256."""
    return hv.Recipe(
        name="multi_fashion_mnist",
        model=RESNET18,
        data=hv.DataConfig(dataset="multi_fashion_mnist"),
        tasks={
            "digit": hv.ClassificationConfig(target="left", label_smoothing=0.1),
            "clothing": hv.ClassificationConfig(target="right", label_smoothing=0.1),
        },
        optim=hv.AdamWConfig(lr=1e-3, weight_decay=0.05),
        train=hv.TrainConfig(steps=9400, batch_size=256, ema=0.999, log_every=50, evaluate_every=940),
    )


def study() -> hv.MultiTaskStudy:
    """Two trunks, three ways of balancing, three seeds."""
    return hv.MultiTaskStudy(
        title="Does a digit's head help or hurt a clothing's head on the same trunk?",
        base=base(),
        trunks={"ResNet-18": RESNET18, "Hybrid": HYBRID},
        balances={"sum": hv.SumConfig(), "uncertainty": hv.UncertaintyConfig(), "PCGrad": hv.PCGradConfig()},
    )
