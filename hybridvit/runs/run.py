"""One training run: a recipe with its data, model and trainer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybridvit.backbones.weights import load_weights
from hybridvit.config import nearest, to_yaml
from hybridvit.data.file_images import pixels
from hybridvit.data.load import load
from hybridvit.data.loaders.batches import training_batches
from hybridvit.data.loaders.device_loader import TrainingData
from hybridvit.data.loaders.progressive import Progressive
from hybridvit.data.loaders.sampling import BatchSampler
from hybridvit.data.samples import ONE_VIEW, Samples, Splits
from hybridvit.diagnostics import measures
from hybridvit.layers.whitening import MOST_IMAGES
from hybridvit.models import multiply_adds
from hybridvit.recipe import Recipe
from hybridvit.runs.checks import (
    check_augmentation_of,
    check_columns,
    check_mixing,
    check_sizes,
    count_labels,
    warn_of_unlabelled,
)
from hybridvit.runs.cnn_teacher import FOLDER as TEACHER
from hybridvit.runs.cnn_teacher import CNNTeacher
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.distillation import DistilledHead, with_distillation
from hybridvit.runs.loaded_run import distilled_heads
from hybridvit.runs.net import column_requests, create_net, create_task, whiten
from hybridvit.runs.pretrain import FOLDER as PRETRAINING
from hybridvit.runs.pretrain import pretrain, pretraining_batches
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.engine import Trainer
from hybridvit.training.evaluation import Scores, evaluate, evaluate_with_tta
from hybridvit.training.history import OnStep
from hybridvit.training.per_image import pack
from hybridvit.training.run_folder import RunFolder, device_name, revision, versions


class Run:
    """Everything a recipe stands for, checked and built, with nothing written yet.

    Args:
        recipe: what to run.
        folder: where to write, from where an interrupted run of the same recipe resumes; None: nowhere.
        command: the command to record in the result.
        cpu: stay on the CPU even where there is a GPU.
        splits: samples to use instead of those that ``recipe.data`` names.

    Raises:
        ValueError: the recipe, its data and the folder do not fit together.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder | str | Path | None = None,
        command: str = "",
        cpu: bool = False,
        splits: Splits | None = None,
    ) -> None:
        if isinstance(folder, str | Path):
            folder = RunFolder(Path(folder), to_yaml(recipe))
        self.recipe, self.folder, self.command = recipe, folder, command
        requests = column_requests(recipe.tasks, recipe.data.names)
        for column in recipe.data.names:
            if column not in requests:
                raise ValueError(f"data.names names {column!r}, which no task reads: {nearest(column, requests)}")
        self.splits = splits if splits is not None else load(recipe.data, recipe.seed, requests)
        check_columns(requests, self.splits)
        check_augmentation_of(recipe, self.splits)
        recipe.progressive.check(self.splits.shapes, self.splits.columns)
        self.accelerator = make_accelerator(recipe.train.precision, cpu)
        device = self.accelerator.device
        data = DatasetInfo.of(self.splits)
        distilled = distilled_heads(recipe.tasks, data, device)
        self.data = data.with_columns({column: head.column for column, head in distilled.items()})
        self.tasks = {
            name: create_task(name, config, self.data, self.splits.train) for name, config in recipe.tasks.items()
        }
        self.labelled = {name: count_labels(task, self.splits) for name, task in self.tasks.items()}
        warn_of_unlabelled(self.labelled, self.splits)
        check_mixing(recipe, self.tasks)
        self.teacher = (
            CNNTeacher(recipe.teacher, recipe, self.data, self.tasks, self.accelerator) if recipe.teacher else None
        )
        self._build_net()
        check_sizes(recipe, self.net, self.data.shapes)
        source = self._sources(distilled)
        probes = {
            measure.name: measure.probe_of
            for measure in measures()
            if measure.probe and measure.applies(self.net.backbone)
        }
        auxiliary = self.teacher.tasks if self.teacher is not None else {}
        self.trainer = Trainer(
            self.net,
            {**self.tasks, **auxiliary},
            recipe.train,
            recipe.optim,
            source,
            self.validation,
            balance=recipe.balance,
            accelerator=self.accelerator,
            folder=folder,
            probes=probes,
            auxiliary=tuple(auxiliary),
            sizes=[side for _, side in recipe.progressive.sizes],
        )

    def _build_net(self) -> None:
        """The model, initialised as the recipe says."""
        recipe, device = self.recipe, self.accelerator.device
        torch.manual_seed(recipe.seed)
        self.net = create_net(recipe, self.data, self.tasks)
        self.params = sum(parameter.numel() for parameter in self.net.parameters())
        one_view = self.data.shapes.get(ONE_VIEW)
        self.multiply_adds = multiply_adds(self.net, one_view) if one_view is not None else None
        if recipe.weights is not None:
            load_weights(self.net.backbone, recipe.weights)
        if self.teacher is not None:
            self.teacher.join(self.net)
        self.net.to(device)
        if recipe.whitening_init:
            view, images = next(iter(self.splits.train.views.items()))
            some = pixels(images[np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(np.int64)])
            whiten(self.net.backbone, self.data.normalisation[view](torch.from_numpy(some).to(device)))

    def _sources(self, distilled: Mapping[str, DistilledHead]) -> Any:
        """The training batches as the model sees them; sets those of the other splits and those without labels."""
        recipe, device, train = self.recipe, self.accelerator.device, self.splits.train
        columns, normalisation, steps = self.data.columns, self.data.normalisation, recipe.train.steps

        def evaluation(samples: Samples) -> Any:
            return with_distillation(self.data.evaluation_batches(samples, device), distilled)

        self.validation, self.test = evaluation(self.splits.validation), evaluation(self.splits.test)
        order = BatchSampler(
            train.sources, recipe.train.batch_size, recipe.seed, recipe.sampling, recipe.augment.repeats
        )
        data = TrainingData(train, columns, normalisation, recipe.augment, order, recipe.seed, device, steps)
        self.batches = training_batches(data)
        self.unlabelled = (
            pretraining_batches(recipe.pretrain, recipe, train, self.data, device) if recipe.pretrain else None
        )
        source = with_distillation(self.batches, distilled)  # teachers see the images at full size
        if self.teacher is not None:
            source = self.teacher.source(source)
        return Progressive(source, recipe.progressive.sizes, steps) if recipe.progressive.sizes else source

    @property
    def stages(self) -> tuple[int, int, int]:
        """Number of steps of the pre-training, of the teacher's training and of the training itself."""
        pretraining, teacher = self.recipe.pretrain, self.recipe.teacher
        return pretraining.steps if pretraining else 0, teacher.steps if teacher else 0, self.recipe.train.steps

    def fit(self, on_step: OnStep | None = None) -> dict[str, Any]:
        """Trains, reads the test split once, and returns the result file's content.

        Args:
            on_step: called after every step; its steps are those of all stages.
        """
        began = time.perf_counter()
        recipe, inside = self.recipe, self.folder.path if self.folder is not None else None
        if self.folder is not None:
            self.folder.start(self.data.to_json())
        before: dict[str, dict[str, Any]] = {}  # what came before the training
        first, second = self.stages[:2]
        if self.unlabelled is not None and recipe.pretrain is not None:
            before["pretraining"] = pretrain(
                self.net.backbone,
                self.unlabelled,
                recipe.pretrain,
                recipe,
                self.data,
                self.accelerator,
                inside / PRETRAINING if inside else None,
                on_step,
            )
            average: Any = self.trainer.evaluated  # starts from what was just learned
            average.backbone.load_state_dict(self.net.backbone.state_dict())
        if self.teacher is not None:
            folder = inside / TEACHER if inside else None
            before["teacher"] = self.teacher.fit(self.batches, folder, _counted_on(on_step, first))
        history = self.trainer.fit(_counted_on(on_step, first + second))
        if self.teacher is not None:
            self.teacher.leave(self.net)
            self.teacher.leave(self.trainer.evaluated)
        right: dict[str, list[bool]] = {}
        test, tta = self._test(right) if len(self.test) else (None, None)
        several = {"losses": history.losses, "validation": history.validation, "conflicts": history.conflicts}
        result = {
            "recipe": self.recipe.name,
            "model": self.recipe.model.kind,
            "tasks": {name: config.kind for name, config in self.recipe.tasks.items()},
            "balance": self.recipe.balance.kind,
            "dataset": self.splits.name,
            "train_images": len(self.splits.train),
            "labelled": {name: counts["train"] for name, counts in self.labelled.items()},
            "image_size": list(next(iter(self.data.shapes.values()))[1:]),
            "seed": self.recipe.seed,
            "steps": self.recipe.train.steps,
            "params": self.params,
            "multiply_adds": self.multiply_adds,
            "test": test,
            **({"test_tta": tta} if recipe.tta else {}),
            "test_images": len(self.splits.test),
            "test_right": {task: pack(hits) for task, hits in right.items()},
            "validation": history.best,
            "validation_images": len(self.splits.validation),
            "selected_step": history.best_step if history.best is not None else self.recipe.train.steps,
            "history": {
                "steps": history.steps,
                "loss": history.loss,
                **(several if len(self.tasks) > 1 else {}),
                **history.probes,
            },
            **before,
            "seconds": {
                "train": history.seconds,
                **{name: result["seconds"] for name, result in before.items()},
                "compile": history.compile_seconds,
                "total": time.perf_counter() - began,
            },
            **({"joules": {"train": history.joules}} if history.joules is not None else {}),
            "device": device_name(self.accelerator.device),
            "versions": versions(),
            "revision": revision(),
            "command": self.command,
        }
        if self.folder is not None:
            self.folder.finish(result)
        return result

    def _test(self, right: dict[str, list[bool]]) -> tuple[Scores, Scores | None]:
        """The test, and the test with test-time augmentation if the recipe asks for it; ``right`` as for evaluate."""
        given = (self.trainer.evaluated, self.tasks, self.test, self.accelerator, right)
        return evaluate_with_tta(*given) if self.recipe.tta else (evaluate(*given), None)


def _counted_on(on_step: OnStep | None, before: int) -> OnStep | None:
    """The same call for a stage that so many steps come before."""
    return None if on_step is None else lambda progress: on_step(progress._replace(step=before + progress.step))
