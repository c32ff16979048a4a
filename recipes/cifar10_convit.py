"""Do ConViT's gates close? A ConViT learns all of CIFAR-10, and its gates are logged.

    hybridvit train recipes/cifar10_convit.py --out runs/cifar10_convit
    hybridvit diagnose runs/cifar10_convit

As in the paper, gated layers come first (five here); then the class token enters, and one plain layer follows. The run
took 18 minutes on two cores of a Xeon 2.5 GHz and reached 74.9 %. The gates hardly moved, from 0.73 to between 0.71 and
0.78, and later layers attend further, 9.9 pixels instead of 7.2. On a GPU use ``--train.steps 20000 --train.batch_size
256``.
"""

import hybridvit as hv


def recipe() -> hv.Recipe:
    """The weights of the last step are evaluated."""
    return hv.Recipe(
        name="cifar10_convit",
        model=hv.ViTConfig(
            embed_dim=96,
            depth=6,
            num_heads=4,
            mlp_ratio=2.0,
            tokenizer=hv.PatchConfig(patch_size=4),
            attention=("gpsa",) * 5 + ("mhsa",),
            class_token_layer=5,
            qkv_bias=False,
        ),
        data=hv.DataConfig(dataset="cifar10", validation=0.0),
        augment=hv.AugmentConfig(crop_padding=4, flip=True),
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.AdamWConfig(lr=2e-3, beta2=0.99),
        train=hv.TrainConfig(steps=6000, batch_size=64, ema=0.998, log_every=100, evaluate_every=3000),
    )
