"""One ConViT on scikit-learn's digits, its best checkpoint chosen on validation images.

hybridvit train recipes/digits_convit.py --out runs/digits_convit --optim.lr 6e-3
"""

from dataclasses import replace

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig


def recipe() -> Recipe:
    """Three gated layers, then the class token and plain attention."""
    model = ViTConfig(
        embed_dim=32,
        depth=4,
        num_heads=4,
        mlp_ratio=1.0,
        tokenizer=PatchConfig(patch_size=2),
        attention=("gpsa", "gpsa", "gpsa", "mhsa"),
        class_token_layer=3,
        qkv_bias=False,
    )
    return Recipe(
        name="digits_convit",
        model=model,
        tasks={"label": ClassificationConfig(label_smoothing=0.1)},
        optim=AdamWConfig(lr=6e-3, beta2=0.98),
        train=replace(TrainConfig(), steps=600, batch_size=64, ema=0.98),
    )
