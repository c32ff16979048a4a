"""Six cameras around a vehicle, made-up scenes with known answers: what stands where, how many, which way we head.

The cameras share a trunk; cells on the ground look along their rays (cross-view attention, arXiv 2205.02833). A fifth
of the cameras is missing in every split, and more are hidden in training. Nothing is downloaded. Two CPU cores.

    hybridvit train recipes/rig.py
"""

from hybridvit.backbones import ConvConfig, ViTConfig
from hybridvit.data.datasets import DataConfig, SyntheticConfig
from hybridvit.hydra.views_config import ViewsConfig
from hybridvit.recipe import Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.tasks.segmentation import SegmentationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optim import OptimConfig

HYBRID = ViTConfig(
    embed_dim=64,
    depth=2,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=ConvConfig(channels=(24, 48, 64), strides=(2, 1, 2)),
    pooling="mean",
)


def recipe() -> Recipe:
    """1,600 scenes, four heads: three on the fused features, one on the front camera's own."""
    return Recipe(
        name="rig",
        model=HYBRID,
        data=DataConfig(synthetic=SyntheticConfig(samples=2400, missing=0.2)),
        views=ViewsConfig(fusion="ground", grid=(16, 16), embed_dim=96, dropout=0.1),
        tasks={
            "occupancy": SegmentationConfig(target="occupancy", width=64),
            "count": RegressionConfig(target="count"),
            "heading": RegressionConfig(target="heading", angle="degrees"),
            "front": ClassificationConfig(target="nearest_front", view="front"),
        },
        optim=OptimConfig(lr=2e-3, weight_decay=0.05, beta2=0.98),
        train=TrainConfig(steps=500, batch_size=16, precision="fp32", ema=0.98, log_every=20, evaluate_every=200),
    )
