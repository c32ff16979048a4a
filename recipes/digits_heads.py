"""Seven heads on one small hybrid, on scikit-learn's digits: digit, loops, ink, slant, centre, strokes and box.

    hybridvit train recipes/digits_heads.py
    hybridvit study recipes/digits_heads.py
    hybridvit cache-features runs/digits_heads
    hybridvit finetune-head runs/digits_heads --task even --kind classification

Two thirds of the slants and of the boxes are hidden from training, because real data lacks labels too. A sample without
a label for one head still trains the others. Nothing is downloaded.

The study, 24 runs of 250 steps, took 7 minutes on two busy cores of a Xeon. The digit was recognised with 98.3 %
accuracy beside six other heads, and with 98.4 % alone.
"""

from dataclasses import replace

import hybridvit as hv

HYBRID = hv.ViTConfig(
    embed_dim=64,
    depth=3,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=hv.ConvConfig(channels=(32, 64), strides=(1, 1)),
    pooling="mean",
)


def recipe() -> hv.Recipe:
    """One trunk of 64 tokens, a token for each pixel."""
    return hv.Recipe(
        name="digits_heads",
        model=HYBRID,
        data=hv.DataConfig(dataset="digits", hide={"slant": 0.67, "box": 0.67}),
        tasks={
            "digit": hv.ClassificationConfig(target="label", label_smoothing=0.1),
            "loops": hv.ClassificationConfig(target="loops"),
            "ink": hv.RegressionConfig(target="ink"),
            "slant": hv.RegressionConfig(target="slant", angle="degrees"),
            "centre": hv.KeypointsConfig(target="centre", width=32),
            "strokes": hv.SegmentationConfig(target="strokes", width=32),
            "box": hv.DetectionConfig(target="box", width=32),
        },
        optim=hv.AdamWConfig(lr=3e-3, weight_decay=0.1, beta2=0.98),
        train=hv.TrainConfig(steps=600, batch_size=64, precision="fp32", ema=0.98, log_every=20, evaluate_every=100),
    )


def study() -> hv.MultiTaskStudy:
    """All seven together against each alone, by the plain sum, three seeds."""
    base = recipe()
    return hv.MultiTaskStudy(
        title="Seven heads on one trunk of digits: what does each gain or lose?",
        base=replace(base, train=replace(base.train, steps=250, evaluate_every=250)),
        trunks={"Hybrid": HYBRID},
        seeds=3,
    )
