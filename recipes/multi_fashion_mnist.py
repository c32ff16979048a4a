"""Multi-Fashion+MNIST: a digit and a piece of clothing in one image, with a head for each on one backbone.

    hybridvit study recipes/multi_fashion_mnist.py

This is the published setting, ResNet-18 and 120,000 images of 36x36 pixels, for a GPU. On a CPU use
``multi_fashion_mnist_laptop.py``. MNIST and Fashion-MNIST are read from ``--base.data.root FOLDER`` or from
HYBRIDVIT_DATA. The recipe has not been run yet.
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
    """The fixed settings: 20 epochs with batches of 256."""
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
        seeds=3,
    )
