"""CIFAR-10 from 5,000 images in ten minutes on two CPU cores: a hybrid, and a ResNet for comparison.

    hybridvit train recipes/cifar10_5k_laptop.py
    hybridvit study recipes/cifar10_5k_laptop.py

On two cores of a Xeon 2.5 GHz, with one seed each, the hybrid reached 77.3 % after 7.3 minutes of training (78.0 % with
test-time augmentation), and the ResNet 78.0 % (78.6 %) after 7.5 minutes. Four things matter most: max pooling right
after the first convolution, whitening initialisation, Muon, and progressive resizing. CutMix lowers the accuracy of so
short a run (LOG.md).
"""

import hybridvit as hv

HYBRID = hv.ViTConfig(
    embed_dim=128,
    depth=1,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=hv.StagesConfig(cnn=hv.ResNetConfig(depths=(1, 1), width=64, stem="pool")),
    pooling="mean",
    layer_scale=0.1,
)
RESNET = hv.ResNetConfig(depths=(1, 1), width=80, stem="pool")


def recipe() -> hv.Recipe:
    """The hybrid; the weights of the last step are evaluated."""
    return hv.Recipe(
        name="cifar10_5k_laptop",
        model=HYBRID,
        data=hv.DataConfig(dataset="cifar10", train_images=5_000, validation=0.0),
        augment=hv.AugmentConfig(crop_padding=4, crop_fill="reflect", flip=True, cutout=8),
        progressive=hv.ProgressiveConfig(sizes=((0.0, 16), (0.45, 24), (0.8, 32))),
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.MuonConfig(lr=2e-3, muon_lr=0.04, beta2=0.99),
        train=hv.TrainConfig(
            steps=6000, batch_size=32, precision="fp32", ema=0.998, log_every=100, evaluate_every=3000
        ),
        whitening_init=True,
        tta=True,
    )


def study() -> hv.Study:
    """Hybrid and ResNet, paired by seed; runs take turns on both cores."""
    return hv.Study(
        title="Ten minutes on two CPU cores: what do 5,000 images of CIFAR-10 teach?",
        base=recipe(),
        models={"Hybrid": HYBRID, "ResNet": RESNET},
        reference="ResNet",
        train_sizes=(5_000,),
        seeds=3,
        learning_rates=(2e-3,),
        launch=hv.LaunchConfig(backend="sequential", workers=1, threads=2),
    )
