"""A small CNN, trained on the same images first, whose features or logits a transformer learns beside its own tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridvit.backbones.features import Features
from hybridvit.backbones.vit import ViT
from hybridvit.data.batch import Batch
from hybridvit.data.samples import ONE_VIEW
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.distillation import TaughtBatches
from hybridvit.runs.net import create_net
from hybridvit.runs.stage import fit_stage, own_randomness, stage_train
from hybridvit.runs.stage_config import CNNTeacherConfig
from hybridvit.tasks.base import Objective, Task
from hybridvit.tasks.classification import ClassificationTask
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask
from hybridvit.tasks.objectives import (
    FeatureDistillationHead,
    FeatureDistillationTask,
    Shape,
    SharedHead,
    normalised_maps,
)
from hybridvit.training.engine import BatchSource, Trainer
from hybridvit.training.history import OnStep
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder

FOLDER = "teacher"
FEATURES = "cnn_teacher"  # name of the task and of its head; those of logits are cnn_teacher_TASK


class CNNTeacher:
    """A CNN and the student's tasks of learning what it answers.

    In the order of use: :meth:`join` puts the heads of the tasks on the student, :meth:`fit` trains the CNN or loads
    it, :meth:`source` fills the tasks' targets in the student's batches, and :meth:`leave` takes the heads off again.
    The CNN learns the recipe's tasks, distillations aside, from the recipe's own training images, augmented as the
    student's are. No other image reaches it: nothing is selected and nothing tested, and its last weights count.

    Args:
        config: the CNN, and what of it is followed.
        recipe, data, tasks: the student's.
        accelerator: device and precision of both trainings.

    Attributes:
        tasks: the tasks that follow the CNN, by the names of their heads.

    Raises:
        ValueError: the recipe is not one that a CNN can teach.
    """

    def __init__(
        self,
        config: CNNTeacherConfig,
        recipe: Recipe,
        data: DatasetInfo,
        tasks: Mapping[str, Task],
        accelerator: Accelerator,
    ) -> None:
        _check(recipe, data)
        self.config, self.data, self.accelerator = config, data, accelerator
        self.recipe = _of_teacher(config, recipe)
        self.learns = {name: tasks[name] for name in self.recipe.tasks}
        with own_randomness(recipe.seed, torch.device("cpu")):
            self.net = create_net(self.recipe, data, self.learns)
        self.stages = _stages(self.net, data.shapes[ONE_VIEW])
        self.net.to(accelerator.device)
        self.tasks: dict[str, Objective] = {}
        self.follows: dict[str, str] = {}  # of the logits: task here -> the student's
        if config.what != "logits":
            self.tasks[FEATURES] = FeatureDistillationTask(
                FEATURES, tuple(self.stages.values()), config.weight, FEATURES
            )
        if config.what != "features":  # the class probabilities as targets (arXiv 1503.02531, §2)
            for name, task in self.learns.items():
                if isinstance(task, ClassificationTask):
                    own = f"{FEATURES}_{name}"
                    soft = DistillationConfig(teacher=FOLDER, task=name, mode="soft", target=own)
                    self.tasks[own] = DistillationTask(own, task.names, soft, config.weight)
                    self.follows[own] = name
            if not self.follows:
                raise ValueError(f"teacher.what {config.what!r} needs a classification task: choose 'features'")
        for name in self.tasks:
            if name in recipe.tasks:
                raise ValueError(
                    f"tasks.{name}: with a teacher, {name} is the name of a head of its own, choose another"
                )

    def join(self, net: HydraNet) -> None:
        """Puts the heads on the student.

        Raises:
            ValueError: it has no blocks, or not those that ``layers`` names.
        """
        if FEATURES in self.tasks:
            backbone = net.backbone
            if not isinstance(backbone, ViT):
                raise ValueError(
                    f"teacher.what {self.config.what!r} needs the blocks of a vision transformer, which "
                    f"{type(backbone).__name__} has not: choose 'logits'"
                )
            head = self.tasks[FEATURES].head(backbone.spec)
            assert isinstance(head, FeatureDistillationHead)
            for tap, layer in zip(head.taps, self._layers(len(backbone.blocks)), strict=True):
                tap.listen(backbone.blocks[layer])
            net.add_head(FEATURES, head)
        for own, name in self.follows.items():
            net.add_head(own, SharedHead(net.heads[name]))

    def leave(self, net: nn.Module) -> None:
        """Takes the heads off the student, or off a copy of it; heads that are off already are skipped."""
        assert isinstance(net, HydraNet)
        for name in self.tasks:
            if name in net.heads:
                head = net.remove_head(name)
                for tap in head.taps if isinstance(head, FeatureDistillationHead) else ():
                    tap.stop()

    def fit(self, source: BatchSource, folder: Path | None = None, on_step: OnStep | None = None) -> dict[str, Any]:
        """Trains the CNN, as :func:`~hybridvit.runs.stage.fit_stage` does; it is a run of its own.

        Args:
            source: the student's training batches.
            folder, on_step: as for :func:`~hybridvit.runs.stage.fit_stage`, whose result also has ``params``.
        """
        recipe, device = self.recipe, self.accelerator.device

        def make_trainer(run_folder: RunFolder | None) -> Trainer:
            train, optim, accelerator = recipe.train, recipe.optim, self.accelerator
            return Trainer(self.net, self.learns, train, optim, source, accelerator=accelerator, folder=run_folder)

        params = sum(parameter.numel() for parameter in self.net.parameters())
        result = fit_stage(make_trainer, recipe, recipe.seed, self.data, device, folder, on_step, params=params)
        self.net.eval().requires_grad_(False)
        return result

    def source(self, source: BatchSource) -> TaughtBatches:
        """The student's batches with the targets of the tasks; the CNN sees the very images that are in them."""
        return TaughtBatches(source, self.targets)

    @torch.no_grad()
    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """What the CNN makes of a batch, by target column."""
        with self.accelerator.autocast():
            features = self.net.features(batch.images)
            logits = self.net.read(features, self.follows.values())
        assert isinstance(features, Features)
        targets = {own: logits[name].float() for own, name in self.follows.items()}
        if FEATURES in self.tasks:
            targets[FEATURES] = normalised_maps([features.maps[stride] for stride in self.stages])
        return targets

    def _layers(self, depth: int) -> tuple[int, ...]:
        """The student's block that follows each stage."""
        stages, layers = len(self.stages), self.config.layers
        if not layers:
            return tuple(round(stage * (depth - 1) / max(stages - 1, 1)) for stage in range(stages))
        if len(layers) != stages:
            raise ValueError(f"teacher.layers names a block for each of the CNN's {stages} stages, given {layers}")
        if max(layers) >= depth:
            raise ValueError(f"teacher.layers must name blocks of 0 .. {depth - 1}, given {layers}")
        return layers


def _check(recipe: Recipe, data: DatasetInfo) -> None:
    if data.shapes.keys() != {ONE_VIEW}:
        raise ValueError(f"a teacher needs one image for each sample, this data has cameras {', '.join(data.shapes)}")
    if recipe.balance.kind != "sum":
        raise ValueError(f"a teacher adds to the sum of the losses: choose balance sum, given {recipe.balance.kind}")
    if not any(config.in_data for config in recipe.tasks.values()):
        raise ValueError("a teacher learns the recipe's tasks, distillations aside, and this recipe has no other")


def _of_teacher(config: CNNTeacherConfig, recipe: Recipe) -> Recipe:
    """What the CNN is, as a recipe of its own."""
    return Recipe(
        name=f"{recipe.name}-teacher",
        model=config.model,
        data=recipe.data,
        augment=recipe.augment,
        tasks={name: task for name, task in recipe.tasks.items() if task.in_data},
        sampling=recipe.sampling,
        optim=AdamWConfig(lr=config.lr),
        train=stage_train(recipe.train, config.steps),
        seed=recipe.seed,
    )


@torch.no_grad()
def _stages(net: HydraNet, image_shape: tuple[int, int, int]) -> dict[int, Shape]:
    """Stride -> channels, rows and columns of the CNN's feature maps, fine to coarse."""
    features: Any = net.eval().features(torch.zeros(1, *image_shape))
    maps: dict[int, Tensor] = dict(sorted(features.maps.items()))
    if not maps:
        raise ValueError("teacher.model gives no feature maps: choose a CNN, such as a ResNet")
    return {stride: (x.shape[1], x.shape[2], x.shape[3]) for stride, x in maps.items()}
