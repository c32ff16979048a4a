"""Your own images: a folder with a folder of images for each class, or an .npz file in the MedMNIST layout.

    hybridvit train recipes/own_images.py --data.root FOLDER --out runs/mine
    hybridvit predict runs/mine image.jpg

The model has a convolutional stem, four attention blocks and 1.1 M parameters. It suits a few hundred to a few thousand
images.
"""

import hybridvit as hv


def recipe() -> hv.Recipe:
    """64 pixels, 64 tokens, 600 steps."""
    model = hv.ViTConfig(
        embed_dim=128,
        depth=4,
        num_heads=4,
        mlp_ratio=2.0,
        tokenizer=hv.ConvConfig(channels=(32, 64, 128), strides=(2, 2, 2)),
        pooling="mean",
        drop_path=0.1,
    )
    return hv.Recipe(
        name="own_images",
        model=model,
        data=hv.DataConfig(root="FOLDER", image_size=64),
        augment=hv.AugmentConfig(crop_padding=8, flip=True),
        tasks={"label": hv.ClassificationConfig(label_smoothing=0.1)},
        optim=hv.AdamWConfig(lr=2e-3, weight_decay=0.1),
        train=hv.TrainConfig(steps=600, batch_size=32, ema=0.99),
    )
