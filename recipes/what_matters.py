"""What is each ingredient of a small-data recipe worth? An ablation: each ingredient is removed alone.

    hybridvit study recipes/what_matters.py

The base is an early form of ``cifar10_5k_laptop.py``: three stages that begin at full resolution, and CutMix on half of
the images. It has half the width and 500 steps, so that ten rows and three seeds took 40 minutes on one busy core of a
Xeon 2.5 GHz. In so few steps whitening initialisation (+6.1 points) and Muon (+4.5) help most. CutMix (-2.1) and
progressive resizing (-3.2) do not pay off yet; the laptop recipe no longer uses CutMix. Other work ran beside the study
and lengthened the seconds in its result file.
"""

from dataclasses import replace
from pathlib import Path

import hybridvit as hv

CNN = hv.ResNetConfig(depths=(1, 1, 1), width=16)


def study() -> hv.Ablation:
    """The recipe without one ingredient at a time."""
    full = hv.read_recipe(Path(__file__).with_name("cifar10_5k_laptop.py"), "recipe")
    model = replace(full.model, embed_dim=64, tokenizer=hv.StagesConfig(cnn=CNN))
    train = replace(full.train, steps=500, ema=0.99, evaluate_every=500)
    augment = replace(full.augment, cutmix=1.0, mix_probability=0.5)
    base = replace(
        full,
        name="what_matters",
        model=model,
        augment=augment,
        optim=replace(full.optim, muon_lr=0.03),
        train=train,
        tta=False,
    )
    return hv.Ablation(
        title="What is each ingredient of the laptop recipe worth?",
        base=base,
        without={
            "Muon (AdamW instead)": replace(base, optim=hv.AdamWConfig(lr=full.optim.lr, beta2=full.optim.beta2)),
            "attention (its CNN alone)": replace(base, model=CNN),
            "whitening initialisation": replace(base, whitening_init=False),
            "progressive resizing": replace(base, progressive=hv.ProgressiveConfig()),
            "crops and flips": replace(base, augment=replace(augment, crop_padding=0, crop_fill="zero", flip=False)),
            "cutout": replace(base, augment=replace(augment, cutout=0)),
            "CutMix": replace(base, augment=replace(augment, cutmix=0.0, mix_probability=1.0)),
            "label smoothing": replace(base, tasks={"label": hv.ClassificationConfig()}),
            "weight averaging": replace(base, train=replace(train, ema=None)),
        },
        seeds=3,
        launch=hv.LaunchConfig(workers=2),
    )
