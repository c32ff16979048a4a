"""A ConViT on scikit-learn's digits; its best checkpoint is selected on validation images.

    hybridvit train recipes/digits_convit.py --out runs/digits_convit

It took two and a half minutes on two busy cores of an AMD EPYC and classified 97.5 % of the 360 test images correctly.
"""

from dataclasses import replace

import hybridvit as hv


def recipe() -> hv.Recipe:
    """Three gated layers, then the class token and plain attention."""
    model = hv.ViTConfig(
        embed_dim=32,
        depth=4,
        num_heads=4,
        mlp_ratio=1.0,
        tokenizer=hv.PatchConfig(patch_size=2),
        attention=("gpsa", "gpsa", "gpsa", "mhsa"),
        class_token_layer=3,
        qkv_bias=False,
    )
    return hv.Recipe(
        name="digits_convit",
        model=model,
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.AdamWConfig(lr=6e-3, beta2=0.98),
        train=replace(hv.TrainConfig(), steps=600, batch_size=64, ema=0.98),
    )
