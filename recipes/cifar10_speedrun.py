"""CIFAR-10 by a hybrid on one GPU, against the clock: the seconds from the first step to the last, compilation apart.

    hybridvit train recipes/cifar10_speedrun.py    # one seed
    hybridvit study recipes/cifar10_speedrun.py    # six

Six seeds of one setting; the report's time a run is the wall time of its steps, with the device named. Other budgets
are a flag: ``--base.train.steps 600``. Written for a CUDA GPU with bf16, and not run on one yet: aimed at 96 % within
two minutes of an H100. Wants CIFAR-10, as ``recipes/small_data.py`` does.
"""

from hybridvit.backbones import ResNetConfig, StagesConfig, ViTConfig
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.recipe import LaunchConfig, Recipe, Study
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.muon import MuonConfig

HYBRID = ViTConfig(
    embed_dim=384,
    depth=4,
    num_heads=6,
    mlp_ratio=3.0,
    tokenizer=StagesConfig(cnn=ResNetConfig(depths=(2, 2), width=96), patch_size=2),
    feedforward="conv",
    pooling="seq",
)


def recipe() -> Recipe:
    """40 epochs: images grow from 24 to 32 pixels, Muon, averaged weights, the last step counts."""
    return Recipe(
        name="cifar10_speedrun",
        model=HYBRID,
        data=DataConfig(dataset="cifar10", validation=0.0),
        augment=AugmentConfig(
            crop_padding=4, crop_fill="reflect", flip=True, cutout=8, cutmix=1.0, mix_probability=0.25
        ),
        progressive=ProgressiveConfig(sizes=((0.0, 24), (0.6, 32))),
        tasks={"label": ClassificationConfig(label_smoothing=0.1)},
        optim=MuonConfig(lr=2e-3, beta2=0.99, schedule="linear"),
        train=TrainConfig(
            steps=4000, batch_size=500, precision="bf16", ema=0.999, compile=True, log_every=200, evaluate_every=4000
        ),
        whitening_init=True,
        tta=True,
    )


def study() -> Study:
    """The same for six seeds, one run at a time."""
    return Study(
        title="CIFAR-10 against the clock",
        base=recipe(),
        models={"Hybrid": HYBRID},
        reference="Hybrid",
        train_sizes=(50_000,),
        seeds=6,
        launch=LaunchConfig(backend="sequential", workers=1),
    )
