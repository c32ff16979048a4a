"""A recipe becomes something that trains."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hybridvit.backbones.weights import load_weights
from hybridvit.build.balance import create_balance
from hybridvit.build.dataset_info import DatasetInfo
from hybridvit.build.guide import FOLDER as TEACHER
from hybridvit.build.guide import Guide
from hybridvit.build.net import create_net, evaluation_batch
from hybridvit.build.pretrain import FOLDER as PRETRAINING
from hybridvit.build.pretrain import pretrain, pretraining_batches
from hybridvit.build.start import whiten
from hybridvit.build.tasks import column_requests, create_task
from hybridvit.build.teacher import TeacherSource
from hybridvit.build.trained import teachers_of
from hybridvit.config import nearest
from hybridvit.data.datasets import load
from hybridvit.data.file_images import for_statistics
from hybridvit.data.loaders import evaluation_batches, training_batches
from hybridvit.data.progressive import Progressive, shrunk
from hybridvit.data.sampling import Order
from hybridvit.data.splits import ONE_VIEW, Samples, Splits, labelled
from hybridvit.data.transforms import AugmentConfig, check_augmentation
from hybridvit.diagnostics.gates import gates
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.layers.gpsa import GPSA
from hybridvit.recipe import Recipe
from hybridvit.tasks.base import Task
from hybridvit.training.engine import Trainer, make_accelerator
from hybridvit.training.evaluation import evaluate
from hybridvit.training.run_folder import RunFolder, device_name, revision, versions


class Run:
    """Everything a recipe stands for, checked and built, with nothing written yet.

    Args:
        recipe: what to run.
        folder: where to write; None: nowhere.
        command: the command to record in the result.
        cpu: stay on the CPU even where there is a GPU.

    Raises:
        ValueError: the recipe, its data and the folder do not fit together.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder | None = None, command: str = "", cpu: bool = False) -> None:
        self.recipe, self.folder, self.command = recipe, folder, command
        requests = column_requests(recipe.tasks, recipe.data.names)
        for column in recipe.data.names:
            if column not in requests:
                raise ValueError(f"data.names names {column!r}, which no task reads: {nearest(column, requests)}")
        self.splits = load(recipe.data, recipe.seed, requests)
        _check_augmentation(recipe, self.splits)
        recipe.progressive.check(self.splits.shapes, self.splits.columns)
        self.accelerator = make_accelerator(recipe.train.precision, cpu)
        device = self.accelerator.device
        data = DatasetInfo.of(self.splits)
        teachers = teachers_of(recipe.tasks, data, device)
        self.data = data.with_columns({column: teacher.column for column, teacher in teachers.items()})
        self.tasks = {
            name: create_task(name, config, self.data, self.splits.train) for name, config in recipe.tasks.items()
        }
        self.labelled = {name: _count_labels(task, self.splits) for name, task in self.tasks.items()}
        _warn_of_unlabelled(self.labelled, self.splits)
        _check_mixing(recipe, self.tasks)
        guide = Guide(recipe.guide, recipe, self.data, self.tasks, self.accelerator) if recipe.guide else None
        torch.manual_seed(recipe.seed)
        self.net = create_net(recipe, self.data, self.tasks)
        self.params = sum(parameter.numel() for parameter in self.net.parameters())
        if recipe.weights is not None:
            load_weights(self.net.backbone, recipe.weights)
        self.net.to(device)
        if recipe.whiten:
            view, images = next(iter(self.splits.train.views.items()))
            pixels = torch.from_numpy(for_statistics(images)).to(device)
            whiten(self.net.backbone, self.data.normalisation[view](pixels))
        if guide is not None:
            guide.join(self.net)
            self.net.to(device)
        self.guide = guide
        _check_sizes(recipe, self.net, self.data.shapes)

        train, steps = self.splits.train, recipe.train.steps
        order = Order(train.sources, recipe.train.batch_size, recipe.seed, recipe.sampling, recipe.augment.repeats)
        columns, normalisation = self.data.columns, self.data.normalisation

        def taught(source: Any) -> Any:
            return TeacherSource(source, teachers) if teachers else source

        def evaluation(part: Samples) -> Any:
            return taught(evaluation_batches(part, columns, normalisation, evaluation_batch(self.data.shapes), device))

        self.test = evaluation(self.splits.test)
        self.batches = training_batches(
            train, columns, normalisation, recipe.augment, order, recipe.seed, device, steps
        )
        self.unlabelled = (
            pretraining_batches(recipe.pretrain, recipe, train, self.data, device) if recipe.pretrain else None
        )
        source = taught(self.batches)  # teachers see the images at full size
        if guide is not None:
            source = guide.source(source)
        if recipe.progressive.sizes:
            source = Progressive(source, recipe.progressive.sizes, steps)
        probes: dict[str, Callable[[nn.Module], Any]] = {}
        if any(isinstance(module, GPSA) for module in self.net.backbone.modules()):
            probes["gates"] = lambda net: gates(net).tolist()
        aids = guide.tasks if guide is not None else {}
        self.trainer = Trainer(
            self.net,
            {**self.tasks, **aids},
            create_balance(recipe.balance, (*self.tasks, *aids), self.accelerator.num_processes, self.net),
            source,
            evaluation(self.splits.validation),
            recipe.train,
            recipe.optim,
            self.accelerator,
            folder,
            probes,
            tuple(aids),
            [side for _, side in recipe.progressive.sizes],
        )

    @property
    def stages(self) -> tuple[int, int, int]:
        """Number of steps of the pre-training, of the guide's training and of the training itself."""
        pretraining, guide = self.recipe.pretrain, self.recipe.guide
        return pretraining.steps if pretraining else 0, guide.steps if guide else 0, self.recipe.train.steps

    def fit(self, on_step: Callable[[int, float], None] | None = None) -> dict[str, Any]:
        """Trains, reads the test split once, and returns the result file's content.

        Args:
            on_step: called with the number of finished steps, those of all stages, and the latest logged loss.
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
        if self.guide is not None:
            folder = inside / TEACHER if inside else None
            before["teacher"] = self.guide.fit(self.batches, folder, _counted_on(on_step, first))
        history = self.trainer.fit(_counted_on(on_step, first + second))
        if self.guide is not None:
            self.guide.leave(self.net)
            self.guide.leave(self.trainer.evaluated)
        test = self._test() if len(self.test) else None
        flips = self._test(flips=True) if len(self.test) and recipe.test_flips else None
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
            "test": test,
            **({"test_flips": flips} if recipe.test_flips else {}),
            "test_images": len(self.splits.test),
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
            "device": device_name(self.accelerator.device),
            "versions": versions(),
            "revision": revision(),
            "command": self.command,
        }
        if self.folder is not None:
            self.folder.finish(result)
        return result

    def _test(self, flips: bool = False) -> dict[str, dict[str, float]]:
        return evaluate(self.trainer.evaluated, self.tasks, self.test, self.accelerator, flips)


def _counted_on(on_step: Callable[[int, float], None] | None, before: int) -> Callable[[int, float], None] | None:
    """The same call for a stage that so many steps come before."""
    return None if on_step is None else lambda done, loss: on_step(before + done, loss)


def _check_mixing(recipe: Recipe, tasks: Mapping[str, Task]) -> None:
    fixed = [name for name, task in tasks.items() if not task.mixable]
    for field in ("mixup", "cutmix"):
        if getattr(recipe.augment, field) and fixed:
            raise ValueError(f"augment.{field} mixes images, and task {fixed[0]} cannot learn from mixed ones")


def _check_augmentation(recipe: Recipe, splits: Splits) -> None:
    if recipe.sampling.kind != "size" and splits.train.source is None:
        raise ValueError(f"sampling {recipe.sampling.kind} has no effect: the data is a single data set")
    done = [n for n, value in vars(recipe.augment).items() if value != getattr(AugmentConfig, n) and n != "repeats"]
    if splits.shapes.keys() != {ONE_VIEW} and done:
        raise ValueError(f"augment.{done[0]} is for one image a sample: it would treat the images of cameras apart")
    check_augmentation(recipe.augment, splits.columns, next(iter(splits.shapes.values())))


@torch.no_grad()
def _check_sizes(recipe: Recipe, net: HydraNet, shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuses sizes that the model cannot see, before training comes to them.

    Raises:
        ValueError: naming the size.
    """
    was_training = net.training
    net.eval()
    for side in sorted({side for _, side in recipe.progressive.sizes}):
        image = shrunk(next(net.parameters()).new_zeros(1, *shapes[ONE_VIEW]), side)
        try:
            net(image)
        except ValueError as error:
            raise ValueError(f"progressive.sizes, {side} pixels: {error}") from error
    net.train(was_training)


def _count_labels(task: Task, splits: Splits) -> dict[str, int]:
    """Samples with a label, by part; a distillation's teacher labels all."""
    counts = {}
    for part in ("train", "validation", "test"):
        samples: Samples = getattr(splits, part)
        if task.target not in splits.columns:
            counts[part] = len(samples)
            continue
        known = labelled(splits.columns[task.target].kind, samples.targets[task.target])
        if task.view is not None and task.view in samples.present:
            known = known & samples.present[task.view]
        counts[part] = int(known.sum())
    return counts


def _warn_of_unlabelled(counts: Mapping[str, Mapping[str, int]], splits: Splits) -> None:
    """Names every task that a part has no label for.

    Raises:
        ValueError: no task has any training label.
    """
    if not any(by_part["train"] for by_part in counts.values()):
        raise ValueError(f"no training sample of {splits.name} has a label for any of the tasks {', '.join(counts)}")
    for name, by_part in counts.items():
        if not by_part["train"]:
            warnings.warn(f"task {name}: no training sample has a label, so its head stays as it is", stacklevel=3)
        for part, meaning in (("validation", "selection leaves it out"), ("test", "it has no test result")):
            if len(getattr(splits, part)) and not by_part[part]:
                warnings.warn(f"task {name}: no {part} sample has a label, so {meaning}", stacklevel=3)
