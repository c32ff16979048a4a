"""What is a built-in assumption about images worth when images are few? CIFAR-10 from 1 % to 100 % of its images.

    hybridvit study recipes/small_data.py

Ten models learn from 500 images (50 of each class) to all 50,000, in equally many steps. They have 4.0 to 4.4 M
parameters, but for ResNet-18 with 11 M. Learning rates are selected on validation images of the largest size; the test
images are used once. The recipe needs a GPU and has not been run yet. CIFAR-10 is read from ``--base.data.root FOLDER``
or from HYBRIDVIT_DATA, and downloaded if there is a network.

``recipes/small_data_laptop.py`` is a short form; ``recipes/small_data_cifar100.py`` and
``recipes/small_data_cifair10.py`` use other images.
"""

from dataclasses import replace

import hybridvit as hv

VIT = hv.ViTConfig(
    embed_dim=192, depth=9, num_heads=4, tokenizer=hv.PatchConfig(patch_size=4), pooling="seq", drop_path=0.1
)
CONVIT = replace(VIT, attention=("gpsa",) * 7 + ("mhsa",) * 2)
HYBRID = replace(VIT, tokenizer=hv.ConvConfig(channels=(48, 96, 192), strides=(2, 1, 2)))
MODELS = {
    "ResNet-18": hv.ResNetConfig(),
    "ResNet": hv.ResNetConfig(width=38),
    "WRN-16-5": hv.WideResNetConfig(depth=16, width_factor=5),
    "Conv-FF hybrid": replace(HYBRID, feedforward="conv"),
    "Hybrid": HYBRID,
    "CCT": replace(VIT, embed_dim=256, depth=7, mlp_ratio=2.0, tokenizer=hv.ConvPoolConfig()),
    "ConViT": CONVIT,
    "ConViT, no gate": replace(CONVIT, attention=("psa",) * 7 + ("mhsa",) * 2),
    "ConViT, random start": replace(CONVIT, initialisation="random"),
    "ViT": VIT,
}


def base() -> hv.Recipe:
    """The fixed settings."""
    return hv.Recipe(
        name="small_data",
        model=VIT,
        data=hv.DataConfig(dataset="cifar10", validation=0.1),
        augment=hv.AugmentConfig(
            crop_padding=4, flip=True, policy="trivial", erasing=0.25, cutmix=1.0, mix_probability=0.5
        ),
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.AdamWConfig(lr=1e-3, weight_decay=0.1, beta2=0.99),
        train=hv.TrainConfig(steps=10_000, batch_size=256, ema=0.999, log_every=100, evaluate_every=5000),
    )


def study() -> hv.Study:
    """Ten models, six sizes, three seeds (six are a flag away: ``--seeds 6``)."""
    return hv.Study(
        title="What is a built-in assumption worth on CIFAR-10, in images?",
        base=base(),
        models=MODELS,
        reference="ViT",
        train_sizes=(500, 2_500, 5_000, 12_500, 25_000, 50_000),
        seeds=3,
        learning_rates=(5e-4, 1e-3, 2e-3),
    )
