"""Your own pictures: a folder with one folder for each class, or one .npz file in the MedMNIST layout.

A convolutional stem and four attention blocks, 1.1 M parameters, made for a few hundred to a few thousand pictures.

    hybridvit train recipes/own_images.py --data.root FOLDER --out runs/mine
    hybridvit predict runs/mine picture.jpg
"""

from hybridvit.backbones import ConvConfig, ViTConfig
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.recipe import Recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig


def recipe() -> Recipe:
    """64 pixels, 64 tokens, 600 steps."""
    model = ViTConfig(
        embed_dim=128,
        depth=4,
        num_heads=4,
        mlp_ratio=2.0,
        tokenizer=ConvConfig(channels=(32, 64, 128), strides=(2, 2, 2)),
        pooling="mean",
        drop_path=0.1,
    )
    return Recipe(
        name="own_images",
        model=model,
        data=DataConfig(root="FOLDER", image_size=64),
        augment=AugmentConfig(crop_padding=8, flip=True),
        tasks={"label": ClassificationConfig(label_smoothing=0.1)},
        optim=AdamWConfig(lr=2e-3, weight_decay=0.1),
        train=TrainConfig(steps=600, batch_size=32, ema=0.99),
    )
