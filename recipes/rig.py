"""Six cameras around a vehicle in synthetic scenes: an occupancy map, a count, the heading, the nearest object ahead.

    hybridvit train recipes/rig.py

The cameras share a backbone. The cells of a bird's-eye view attend along the cameras' rays (cross-view attention,
arXiv 2205.02833). A tenth of the cameras is missing in every split, and training hides more. Nothing is downloaded.

The run took 5 minutes on one thread of a busy Xeon. On 500 test scenes it reached an occupancy mIoU of 58.4 %, an R² of
0.70 for the count, a mean error of 3.5 degrees for the heading, and 97.5 % for the nearest object ahead
(``results/rig.json``).
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
