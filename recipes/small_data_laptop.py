"""``recipes/small_data.py`` for two CPU cores: models of 0.3 M parameters, 500 and 5,000 images.

    hybridvit study recipes/small_data_laptop.py

The study took 23 minutes on two cores of a Xeon 2.5 GHz. In 150 steps the number of images hardly matters; the results
show how fast each model learns. From 500 and from 5,000 images, accuracies in % were: ResNet 39.8 and 42.0, WRN 40.1
and 42.7, hybrid with convolutional feed-forward 35.8 and 39.6, CCT 35.9 and 36.4, hybrid 33.2 and 34.7, ConViT 30.8 and
31.9, ViT 29.5 and 32.4.
"""

from dataclasses import replace
from pathlib import Path

import hybridvit as hv

VIT = hv.ViTConfig(
    embed_dim=96, depth=4, num_heads=4, mlp_ratio=2.0, tokenizer=hv.PatchConfig(patch_size=4), pooling="seq"
)
HYBRID = replace(VIT, embed_dim=92, tokenizer=hv.ConvConfig(channels=(24, 48), strides=(2, 2)))
MODELS = {
    "ResNet": hv.ResNetConfig(depths=(1, 1, 1), width=32),
    "WRN-10-2": hv.WideResNetConfig(depth=10, width_factor=2),
    "Conv-FF hybrid": replace(HYBRID, embed_dim=88, feedforward="conv"),
    "Hybrid": HYBRID,
    "CCT": replace(VIT, embed_dim=92, tokenizer=hv.ConvPoolConfig(layers=2, hidden_dim=48)),
    "ConViT": replace(VIT, attention=("gpsa",) * 3 + ("mhsa",)),
    "ViT": VIT,
}


def study() -> hv.Study:
    """Seven models, two sizes, three seeds, 150 steps."""
    full = hv.read_recipe(Path(__file__).with_name("small_data.py"), "study")
    base = replace(
        full.base,
        name="small_data_laptop",
        model=VIT,
        augment=hv.AugmentConfig(crop_padding=4, flip=True),
        train=hv.TrainConfig(steps=150, batch_size=64, precision="fp32", ema=0.98, log_every=25, evaluate_every=150),
    )
    return replace(full, base=base, models=MODELS, train_sizes=(500, 5_000), learning_rates=(2e-3,))
