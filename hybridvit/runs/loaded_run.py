"""A run read back for use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hybridvit.config import from_yaml, nearest
from hybridvit.data.load import load
from hybridvit.data.loaders.choose import evaluation_batches
from hybridvit.data.readers.image_io import read_image
from hybridvit.data.samples import ONE_VIEW, Column, Splits
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.net import create_net, evaluation_batch
from hybridvit.runs.run_teacher import Teacher, TeacherBatches
from hybridvit.runs.stored_heads import StoredHead, stored_heads
from hybridvit.runs.tasks import column_requests, create_task
from hybridvit.tasks.distillation import DistillationConfig
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training import checkpoint
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.evaluation import evaluate


class LoadedRun:
    """A run read back for use; needs no training data.

    Heads that were tuned, added or taken off after the training are as they are now.

    Args:
        path: the run folder.
        which: name of a checkpoint; None: the best on validation data, else the last.
        original: the heads as the training left them.

    Raises:
        ValueError: no run there, no such checkpoint, or one that is corrupt (another one is offered).
    """

    def __init__(self, path: Path, which: str | None = None, original: bool = False) -> None:
        if not (path / "recipe.yaml").is_file() or not (path / "dataset.json").is_file():
            raise ValueError(f"{path} is not a run folder: it has no recipe.yaml and dataset.json")
        self.path = path
        self.recipe = from_yaml(Recipe, (path / "recipe.yaml").read_text(encoding="utf-8"))
        self.data = DatasetInfo.from_json(json.loads((path / "dataset.json").read_text(encoding="utf-8")))
        self.checkpoint = _checkpoint(path, which)
        tensors = checkpoint.read_or_offer(self.checkpoint, checkpoint.WEIGHTS, "choose it with --checkpoint")
        self.configs: dict[str, TaskConfig] = dict(self.recipe.tasks)
        self.tasks = {name: create_task(name, config, self.data) for name, config in self.configs.items()}
        self.net = create_net(self.recipe, self.data, self.tasks)
        checkpoint.load_state(self.net, tensors, self.checkpoint)
        self.trunk = checkpoint.digest_of({k: v for k, v in tensors.items() if k.startswith("backbone.")})
        if not original:
            for head in stored_heads(path):
                self._apply(head)
        self.net.eval()

    def _apply(self, head: StoredHead) -> None:
        """Puts a tuned head on, or takes one off."""
        if head.name in self.tasks:
            self.remove(head.name)
        if head.removed:
            return
        if head.about["trunk"] != self.trunk:
            raise ValueError(
                f"head {head.name} was tuned on another trunk than that of checkpoint {self.checkpoint.name}: "
                f"use the checkpoint {head.about['checkpoint']}, or tune it on this one"
            )
        self.add(head.name, head.config, head.data(self.data))
        checkpoint.load_state(self.net.heads[head.name], head.weights(), head.path)

    def add(self, name: str, config: TaskConfig, data: DatasetInfo, train: Any = None) -> None:
        """A fresh head for another task; ``data`` knows its column, ``train`` gives a regression its scale."""
        self.data = data
        task = create_task(name, config, data, train)
        backbone: Any = self.net.backbone
        spec = backbone.view_spec(task.view) if task.view is not None else backbone.spec
        self.tasks[name], self.configs[name] = task, config
        self.net.add_head(name, task.head(spec), task.view)

    def remove(self, name: str) -> None:
        """Takes a head off."""
        del self.tasks[name], self.configs[name]
        self.net.remove_head(name)

    def load(self) -> Splits:
        """The run's data, split as it was for the training, with the columns of all heads."""
        names = self.recipe.data.names
        trained_on, further = column_requests(self.recipe.tasks, names), column_requests(self.configs, names)
        return load(self.recipe.data, self.recipe.seed, trained_on, further)

    def evaluate(self, split: Literal["test", "validation"]) -> tuple[dict[str, dict[str, float]], int]:
        """Metrics of each task on a split of the run's data, and its number of samples."""
        part = getattr(self.load(), split)
        if not len(part):
            raise ValueError(f"the data of this run has no {split} images")
        accelerator = make_accelerator(self.recipe.train.precision)
        device = accelerator.device
        batch = evaluation_batch(self.data.shapes)
        source: Any = evaluation_batches(part, self.data.columns, self.data.normalisation, batch, device)
        if teachers := teachers_of(self.configs, self.data, device):
            source = TeacherBatches(source, teachers)
        return evaluate(self.net.to(device), self.tasks, source, accelerator), len(part)

    @torch.no_grad()
    def predict(self, images: Sequence[Path | Mapping[str, Path]]) -> list[dict[str, Any]]:
        """What every task says of each sample, as ``{"image": path, task: {...}}``.

        Args:
            images: a file each; with several cameras a mapping view name -> file, of any of the views.

        Raises:
            ValueError: a file that cannot be read, or a view that this run does not know.
        """
        rows: list[dict[str, Any]] = []
        size = evaluation_batch(self.data.shapes)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch, present = self._read(part)
            predictions = self.net(batch, present)
            decoded = {name: task.decode(predictions[name].float()) for name, task in self.tasks.items()}
            for index, image in enumerate(part):
                named = str(image) if isinstance(image, Path) else {view: str(path) for view, path in image.items()}
                rows.append({"image": named, **{name: found[index] for name, found in decoded.items()}})
        return rows

    def read(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """Image files as the trunk of a run with one camera wants them, not normalised: ``[n, c, h, w]``.

        Raises:
            ValueError: a file that cannot be read.
        """
        channels, height, width = next(iter(self.data.shapes.values()))
        return np.stack([read_image(path, channels, (height, width)) for path in paths])

    def _read(self, images: Sequence[Path | Mapping[str, Path]]) -> tuple[Any, dict[str, torch.Tensor] | None]:
        """Normalised pixels, and which views are there."""
        several = self.data.shapes.keys() != {ONE_VIEW}
        samples: list[Mapping[str, Path]] = []
        for image in images:
            if isinstance(image, Path) and several:
                raise ValueError(
                    f"this run has {len(self.data.shapes)} cameras: name the one of {image}, "
                    f"as in {next(iter(self.data.shapes))}={image}"
                )
            samples.append({ONE_VIEW: image} if isinstance(image, Path) else image)
        for sample in samples:
            for view in sample:
                if view not in self.data.shapes:
                    raise ValueError(f"this run has no camera {view!r}: {nearest(view, self.data.shapes)}")
        batch, present = {}, {}
        for view, (channels, height, width) in self.data.shapes.items():
            pixels = np.zeros((len(samples), channels, height, width), np.uint8)
            for index, sample in enumerate(samples):
                if view in sample:
                    pixels[index] = read_image(sample[view], channels, (height, width))
            batch[view] = self.data.normalisation[view](torch.from_numpy(pixels))
            present[view] = torch.tensor([view in sample for sample in samples])
        return (batch, present) if several else (batch[ONE_VIEW], None)


def teachers_of(tasks: Mapping[str, TaskConfig], data: DatasetInfo, device: torch.device) -> dict[str, Teacher]:
    """Target column -> teacher, for the distillations among the tasks.

    Raises:
        ValueError: no run there, it has no such head, or its images are of another shape.
    """
    teachers: dict[str, Teacher] = {}
    for name, config in tasks.items():
        if not isinstance(config, DistillationConfig):
            continue
        trained = LoadedRun(Path(config.teacher))
        if config.task not in trained.tasks or trained.configs[config.task].kind != "classification":
            heads = [head for head, other in trained.configs.items() if other.kind == "classification"]
            raise ValueError(
                f"tasks.{name}.task: {config.teacher} has no classification head {config.task!r}: "
                f"{nearest(config.task, heads)}"
            )
        if dict(trained.data.shapes) != dict(data.shapes):
            raise ValueError(
                f"tasks.{name}.teacher: {config.teacher} was trained on views {dict(trained.data.shapes)} "
                f"[c, h, w], this data has {dict(data.shapes)}"
            )
        names = trained.data.columns[trained.configs[config.task].target].names
        net = trained.net.to(device).requires_grad_(False)
        column = Column("teacher", names)
        teachers[config.target] = Teacher(net, config.task, column, trained.data.normalisation, data.normalisation)
    return teachers


def _checkpoint(path: Path, which: str | None) -> Path:
    saved = {folder.name: folder for folder in checkpoint.step_folders(path / "checkpoints")}
    best = path / "checkpoints" / checkpoint.BEST
    if best.is_dir():
        saved[best.name] = best
    if not saved:
        raise ValueError(f"{path} has no checkpoint yet")
    if which is not None and which not in saved:
        raise ValueError(f"{path} has no checkpoint {which!r}: {nearest(which, saved)}")
    return saved[which] if which is not None else list(saved.values())[-1]
