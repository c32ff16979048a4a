"""Six cameras around a vehicle, made-up scenes with known answers: what stands where, how many, which way we head.

The cameras share a trunk; the cells of a bird's-eye view look along their rays (cross-view attention, arXiv
2205.02833). A tenth of the cameras is missing in every split, and more are hidden in training. Nothing is downloaded.
Two CPU cores.

    hybridvit train recipes/rig.py

5 minutes on one thread of a busy Xeon, 500 test scenes: occupancy mIoU 58.4 %, count R² 0.70, heading to 3.5 degrees,
what is nearest in front 97.5 % (``results/rig.json``).
"""

import hybridvit as hv

RESNET = hv.ResNetConfig(depths=(1, 1, 1), width=16)


def recipe() -> hv.Recipe:
    """2,000 scenes, four heads: three on the fused features, one on the front camera's own."""
    return hv.Recipe(
        name="rig",
        model=RESNET,
        data=hv.DataConfig(synthetic=hv.SyntheticConfig(samples=3000, missing=0.1)),
        views=hv.ViewsConfig(fusion="bev", grid=(16, 16), embed_dim=64, dropout=0.05),
        tasks={
            "occupancy": hv.SegmentationConfig(target="occupancy", width=64),
            "count": hv.RegressionConfig(target="count"),
            "heading": hv.RegressionConfig(target="heading", angle="degrees"),
            "front": hv.ClassificationConfig(target="nearest_front", view="front"),
        },
        balance=hv.FixedConfig(weights={"occupancy": 5.0, "count": 0.5, "heading": 0.5, "front": 0.5}),
        optim=hv.AdamWConfig(lr=3e-3, weight_decay=0.05, beta2=0.98),
        train=hv.TrainConfig(steps=400, batch_size=16, precision="fp32", ema=0.98, log_every=20, evaluate_every=400),
    )
