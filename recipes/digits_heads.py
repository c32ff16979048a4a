"""Seven heads on one small hybrid, on scikit-learn's digits: digit, loops, ink, slant, centre, strokes and box.

Two thirds of the slants and boxes are hidden, as labels are in real data: a sample without a label counts for the
other heads only. Nothing is downloaded.

    hybridvit train recipes/digits_heads.py
    hybridvit study recipes/digits_heads.py
    hybridvit features runs/digits_heads
    hybridvit tune runs/digits_heads --task even --kind classification

The study, 24 runs of 250 steps, took 7 minutes on a busy 2-core Xeon: digit 98.3 % beside six other heads, 98.4 %
alone.
"""

from dataclasses import replace

from hybridvit.backbones import ConvConfig, ViTConfig
from hybridvit.data.load import DataConfig
from hybridvit.recipe import MultiTaskStudy, Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.detection import DetectionConfig
from hybridvit.tasks.keypoints import KeypointsConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.tasks.segmentation import SegmentationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig

HYBRID = ViTConfig(
    embed_dim=64,
    depth=3,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=ConvConfig(channels=(32, 64), strides=(1, 1)),
    pooling="mean",
)


def recipe() -> Recipe:
    """One trunk of 64 tokens, a token for each pixel."""
    return Recipe(
        name="digits_heads",
        model=HYBRID,
        data=DataConfig(dataset="digits", hide={"slant": 0.67, "box": 0.67}),
        tasks={
            "digit": ClassificationConfig(target="label", label_smoothing=0.1),
            "loops": ClassificationConfig(target="loops"),
            "ink": RegressionConfig(target="ink"),
            "slant": RegressionConfig(target="slant", angle="degrees"),
            "centre": KeypointsConfig(target="centre", width=32),
            "strokes": SegmentationConfig(target="strokes", width=32),
            "box": DetectionConfig(target="box", width=32),
        },
        optim=AdamWConfig(lr=3e-3, weight_decay=0.1, beta2=0.98),
        train=TrainConfig(steps=600, batch_size=64, precision="fp32", ema=0.98, log_every=20, evaluate_every=100),
    )


def study() -> MultiTaskStudy:
    """All seven together against each alone, by the plain sum, three seeds."""
    base = recipe()
    return MultiTaskStudy(
        title="Seven heads on one trunk of digits: what does each gain or lose?",
        base=replace(base, train=replace(base.train, steps=250, evaluate_every=250)),
        trunks={"Hybrid": HYBRID},
    )
