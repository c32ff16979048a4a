"""Multi-Fashion+MNIST in small: 12,000 pictures, a narrow ResNet-18 and a hybrid with fewer parameters, two CPU cores.

Wants mnist and fashionmnist: ``--base.data.root FOLDER``, or HYBRIDVIT_DATA.

    hybridvit study recipes/multi_fashion_mnist_laptop.py

18 runs in half an hour on a busy 2-core Xeon. Δm: ResNet -1.6 %, hybrid -1.1 % (``results/``, and README).
"""

import hybridvit as hv

RESNET = hv.ResNetConfig(stem="imagenet", width=24)
HYBRID = hv.ViTConfig(
    embed_dim=96,
    depth=3,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=hv.ConvConfig(channels=(32, 64, 96), strides=(2, 1, 2)),
    pooling="seq",
)


def base() -> hv.Recipe:
    """What is held fixed."""
    return hv.Recipe(
        name="multi_fashion_mnist_laptop",
        model=RESNET,
        data=hv.DataConfig(dataset="multi_fashion_mnist", train_images=12_000),
        augment=hv.AugmentConfig(crop_padding=2),
        tasks={
            "digit": hv.ClassificationConfig(target="left", label_smoothing=0.1),
            "clothing": hv.ClassificationConfig(target="right", label_smoothing=0.1),
        },
        optim=hv.AdamWConfig(lr=2e-3, weight_decay=0.1, beta2=0.98),
        train=hv.TrainConfig(steps=400, batch_size=64, precision="fp32", ema=0.99, log_every=25, evaluate_every=400),
    )


def study() -> hv.MultiTaskStudy:
    """Two trunks, the plain sum, three seeds."""
    return hv.MultiTaskStudy(
        title="A digit and a piece of clothing on one trunk: what does sharing cost?",
        base=base(),
        trunks={"ResNet": RESNET, "Hybrid": HYBRID},
    )
