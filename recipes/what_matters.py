"""What each ingredient of the laptop recipe is worth: it is taken away alone, and everything else stays.

hybridvit study recipes/what_matters.py
"""

from dataclasses import replace
from pathlib import Path

from hybridvit.data.progressive import ProgressiveConfig
from hybridvit.recipe import Ablation, LaunchConfig
from hybridvit.request import read_recipe
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.optim import OptimConfig


def study() -> Ablation:
    """The recipe of ``cifar10_5k_laptop.py`` in a tenth of its steps, without one ingredient at a time."""
    base = read_recipe(Path(__file__).with_name("cifar10_5k_laptop.py"), "recipe")
    base = replace(
        base, name="what_matters", test_flips=False, train=replace(base.train, steps=600, ema=0.99, evaluate_every=600)
    )
    augment, model = base.augment, base.model
    adamw = OptimConfig(lr=base.optim.lr, beta2=base.optim.beta2)
    return Ablation(
        title="What is each ingredient of the laptop recipe worth?",
        base=base,
        without={
            "Muon (AdamW instead)": replace(base, optim=adamw),
            "attention (the CNN alone)": replace(base, model=model.tokenizer.cnn),
            "whitening start": replace(base, whiten=False),
            "progressive sizes": replace(base, progressive=ProgressiveConfig()),
            "crops": replace(base, augment=replace(augment, crop_padding=0, crop_fill="zero")),
            "flips": replace(base, augment=replace(augment, flip=False)),
            "cutout": replace(base, augment=replace(augment, cutout=0)),
            "CutMix": replace(base, augment=replace(augment, cutmix=0.0, mix_probability=1.0)),
            "label smoothing": replace(base, tasks={"label": ClassificationConfig()}),
            "weight averaging": replace(base, train=replace(base.train, ema=None)),
        },
        seeds=3,
        launch=LaunchConfig(workers=2),
    )
