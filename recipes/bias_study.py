"""What is each built-in assumption about images worth on photographs, from 250 to 20,000 of them?

    HYBRIDVIT_DATA=FOLDER hybridvit study recipes/bias_study.py --out recipes/results/bias_study

Four models of one size, in parameters and in multiply-adds, learn CIFAR-10 at 16x16 pixels: a plain ViT; a hybrid, a
ViT with a convolutional stem; a ConViT, whose attention is initialised as a convolution and can unlearn it; and a
ResNet. Six variants stand beside them at two of the sizes: a ConViT without its gate, without its convolutional
initialisation, and without both; a ViT with a depthwise convolution in its feed-forward part; a CCT; and a ViT that
follows a ResNet trained on the same images.

There is no augmentation: flips and crops teach what a bias builds in. The runs end where twice the steps change little,
and the study shows by how much. Nine paired seeds are what nine comparisons need.

Every model has its own learning rate at each size, chosen on 5,000 images that no run is tested on. FOLDER holds
cifar10.npz or what torchvision writes. The study takes about seven hours of one CPU core with AVX-512; it may be
stopped at any time, and the same command resumes.
"""

from dataclasses import replace

import hybridvit as hv

VIT = hv.ViTConfig(
    embed_dim=48,
    depth=4,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=hv.PatchConfig(patch_size=4),
    pooling="mean",
)
CONVIT = replace(VIT, attention=("gpsa",))
HYBRID = replace(VIT, tokenizer=hv.ConvConfig(channels=(32, 64), strides=(2, 2)), depth=3)
RESNET = hv.ResNetConfig(depths=(2, 2, 1), width=14, stem="pool")
CCT = replace(VIT, tokenizer=hv.ConvPoolConfig(layers=2, hidden_dim=24), depth=3, pooling="seq")

SIZES = (250, 750, 2_250, 6_750, 20_000)
STEPS = (400, 800, 2_000, 3_500, 6_000)
BOTH = (750, 6_750)  # where the variants are compared


def base() -> hv.Recipe:
    """The fixed settings."""
    return hv.Recipe(
        name="bias_study",
        model=VIT,
        data=hv.DataConfig(dataset="cifar10", image_size=16, validation=0.1),
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.AdamWConfig(lr=4e-3, weight_decay=0.1, beta2=0.95),
        train=hv.TrainConfig(steps=6_000, batch_size=64, precision="fp32", ema=0.98, log_every=200),
    )


def study() -> hv.Study:
    """Four models at five sizes, six variants at two."""
    variants = {
        "ConViT without gate": hv.Variant(
            model=replace(CONVIT, attention=("psa",)), against="ConViT", train_sizes=BOTH
        ),
        "ConViT without convolutional initialisation": hv.Variant(
            model=replace(CONVIT, initialisation="random"), against="ConViT", train_sizes=BOTH
        ),
        "ConViT without both": hv.Variant(
            model=replace(CONVIT, attention=("psa",), initialisation="random"), against="ConViT", train_sizes=BOTH
        ),
        "ViT with convolutional feed-forward": hv.Variant(
            model=replace(VIT, feedforward="conv"), against="ViT", train_sizes=BOTH
        ),
        "CCT": hv.Variant(model=CCT, against="ViT", train_sizes=BOTH),
        "ViT with a ResNet as teacher": hv.Variant(
            model=VIT, teacher=hv.CNNTeacherConfig(model=RESNET, steps=1_000, lr=4e-3), against="ViT", train_sizes=BOTH
        ),
    }
    return hv.Study(
        title="What is each built-in assumption about images worth, in photographs?",
        base=base(),
        models={"ResNet": RESNET, "Hybrid": HYBRID, "ConViT": CONVIT, "ViT": VIT},
        reference="ViT",
        train_sizes=SIZES,
        steps=STEPS,
        learning_rates=(2e-3, 4e-3, 8e-3),
        variants=variants,
        double_steps_at=(250, 2_250, 20_000),
    )
