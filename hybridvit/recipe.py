"""What a run and a study are made of: configuration and nothing else."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.config import Config, NonNegativeInt
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.data.loaders.sampling import SamplingConfig
from hybridvit.hydra.balance.base import SumConfig
from hybridvit.hydra.balance.kinds import BalanceConfig
from hybridvit.hydra.views import ViewsConfig
from hybridvit.runs.stage_config import CNNTeacherConfig, PretrainConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.kinds import AdamWConfig, OptimConfig


class Recipe(Config):
    """One training run.

    Attributes:
        name: what the recipe is called in result files.
        model: the backbone.
        data: images and how they are split.
        augment: what is done to training images.
        progressive: how large they are in the course of the run.
        tasks: the questions asked of every image, by the names of their heads.
        balance: how the losses of several tasks become one update of the trunk.
        sampling: how often each of several data sets is drawn from.
        views: how several cameras become one; None: every sample is one image.
        optim: optimiser and schedule.
        train: length, batch size, precision.
        seed: seed of the subset, the initialisation, the order and the augmentation.
        weights: checkpoint file that the backbone starts from, in any layout ``load_weights`` reads; the head
            is fresh. None: random initialisation.
        whitening_init: start the convolution that reads the images as the whitening transform of their windows.
        pretrain: what the backbone learns from the training images without their labels first; None: nothing.
        teacher: a small CNN that is trained on the same images first, and then followed; None: none.
        tta: report the test also with test-time augmentation, the mean prediction of each image and its horizontal
            flip.
    """

    renamed: ClassVar[dict[str, str]] = {"guide": "teacher", "test_flips": "tta", "whiten": "whitening_init"}

    name: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    progressive: ProgressiveConfig = ProgressiveConfig()
    tasks: dict[str, TaskConfig] = field(default_factory=lambda: {"label": ClassificationConfig()})
    balance: BalanceConfig = SumConfig()
    sampling: SamplingConfig = SamplingConfig()
    views: ViewsConfig | None = None
    optim: OptimConfig = AdamWConfig()
    train: TrainConfig = TrainConfig()
    seed: NonNegativeInt = 0
    weights: str | None = None
    whitening_init: bool = False
    pretrain: PretrainConfig | None = None
    teacher: CNNTeacherConfig | None = None
    tta: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None and self.whitening_init:
            raise ValueError(
                f"whitening_init has no effect with weights {self.weights}, which replace the initial values"
            )
        if not self.tasks:
            raise ValueError("tasks names no task: a run needs at least one head")
        for name in self.tasks:
            if not name.replace("-", "_").isidentifier():
                raise ValueError(f"a task's name is made of letters, digits, - and _, given {name!r}")


class HeadFinetuneConfig(Config):
    """One head of a trained run, trained alone on the features that the run's trunk gave.

    Attributes:
        head: what it is; another target or kind than the run's makes it a new head.
        fresh: start from random weights even where the run has this head.
        optim: optimiser and schedule.
        train: length and batch size.
        seed: seed of the initialisation and of the order.
    """

    head: TaskConfig
    fresh: bool = False
    optim: OptimConfig = AdamWConfig(lr=1e-3, weight_decay=0.01)
    train: TrainConfig = TrainConfig(steps=500, batch_size=128, precision="fp32")
    seed: NonNegativeInt = 0
