"""CamVid, driving scenes: segmentation, the classes that are present, and the share of road, on one backbone.

    hybridvit train recipes/camvid.py
    hybridvit study recipes/camvid.py

The training split has 367 frames of 240x180 pixels. The two targets of the whole image are computed from the masks.
CamVid is read from ``--data.root FOLDER`` (``--base.data.root`` with study) or from HYBRIDVIT_DATA.

The study, 12 runs of 150 steps, took 12 minutes on two busy cores of a Xeon. Segmentation reached an mIoU of 28.8 %
beside the other heads and 33.0 % alone. The share of road was learned only beside segmentation.
"""

from dataclasses import replace

import hybridvit as hv

HYBRID = hv.ViTConfig(
    embed_dim=128,
    depth=3,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=hv.StagesConfig(cnn=hv.ResNetConfig(stem="imagenet", depths=(2, 2, 2), width=32)),
    pooling="mean",
)


def recipe() -> hv.Recipe:
    """ResNet stages, three attention blocks on a grid of 12 x 15, and a pyramid of their maps for the pixels."""
    return hv.Recipe(
        name="camvid",
        model=HYBRID,
        data=hv.DataConfig(dataset="camvid"),
        augment=hv.AugmentConfig(crop_padding=16, flip=True),
        tasks={
            "pixels": hv.SegmentationConfig(target="mask", width=64),
            "present": hv.MultilabelConfig(target="present"),
            "road": hv.RegressionConfig(target="road_share"),
        },
        optim=hv.AdamWConfig(lr=1.5e-3, weight_decay=0.05, beta2=0.98),
        train=hv.TrainConfig(steps=400, batch_size=8, precision="fp32", ema=0.98, log_every=20, evaluate_every=200),
    )


def study() -> hv.MultiTaskStudy:
    """Three heads together against each alone, three seeds."""
    base = recipe()
    return hv.MultiTaskStudy(
        title="Pixels, presence and the share of road: what does one trunk for all cost?",
        base=replace(base, train=replace(base.train, steps=150)),
        trunks={"Hybrid": HYBRID},
        seeds=3,
    )
