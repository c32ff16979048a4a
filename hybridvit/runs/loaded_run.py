"""A run read back for use."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hybridvit.config import from_yaml, nearest
from hybridvit.data.batch import Batch
from hybridvit.data.load import load
from hybridvit.data.loaders.device_loader import DeviceSamples
from hybridvit.data.samples import Column, Samples, Splits
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.distillation import DistilledHead, with_distillation
from hybridvit.runs.net import add_head, column_requests, create_net, create_task
from hybridvit.runs.prediction_inputs import Sample, pixels_of, samples_of
from hybridvit.runs.stored_heads import HEADS, StoredHead, stored_heads
from hybridvit.tasks.distillation import DistillationConfig
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training import checkpoint
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.evaluation import evaluate

ABOUT = ("recipe.yaml", "dataset.json", "result.json")  # what describes a run


class LoadedRun:
    """A trained run, ready to predict and to evaluate; needs no training data.

    Heads that were fine-tuned, added or removed after the training are in their present state.

    Args:
        path: the run folder.
        which: name of a checkpoint; None: the best on validation data, else the last.
        original: the heads as the training left them.

    Raises:
        ValueError: no run there, no such checkpoint, or one that is corrupt (another one is offered).
    """

    def __init__(self, path: str | Path, which: str | None = None, original: bool = False) -> None:
        path = Path(path)
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
        """Puts a fine-tuned head on, or takes one off."""
        if head.name in self.tasks:
            self.remove(head.name)
        if head.removed:
            return
        if head.about["trunk"] != self.trunk:
            raise ValueError(
                f"head {head.name} was trained on another trunk than that of checkpoint {self.checkpoint.name}: "
                f"use the checkpoint {head.about['checkpoint']}, or fine-tune it on this one"
            )
        self.add(head.name, head.config, head.data(self.data))
        checkpoint.load_state(self.net.heads[head.name], head.weights(), head.path)

    def add(self, name: str, config: TaskConfig, data: DatasetInfo, train: Any = None) -> None:
        """A fresh head for another task; ``data`` knows its column, ``train`` gives a regression its scale."""
        self.data = data
        self.tasks[name], self.configs[name] = create_task(name, config, data, train), config
        add_head(self.net, self.tasks[name])

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
        distilled = distilled_heads(self.configs, self.data, device)
        source = with_distillation(self.data.evaluation_batches(part, device), distilled)
        return evaluate(self.net.to(device), self.tasks, source, accelerator), len(part)

    @torch.no_grad()
    def predict(self, images: Any) -> list[dict[str, Any]]:
        """What every task answers for each image, as ``{"image": name, task: {...}}``.

        An image is the path of a file, a PIL image, or an array or tensor ``[h, w]``, ``[h, w, c]`` or ``[c, h, w]``,
        uint8 or floats in [0, 1], where the axis with at most four entries holds the channels. Images are cropped
        (centre) and resized to the run's size. An image's name is its path, and its index where it has none.

        Args:
            images: one image, or many: a list, an array of four axes, or the path of a folder, whose images are taken
                in the order of their names. With several cameras a mapping view name -> one or many images, for any of
                the views, or a list of such mappings.

        Raises:
            ValueError: a file that cannot be read, an array that is no image, or a view that this run does not know.
        """
        samples = samples_of(images, self.data.shapes)
        rows: list[dict[str, Any]] = []
        size = self.data.evaluation_batch
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            batch = self._batch(part)
            predictions = self.net(batch.images, batch.present)
            decoded = {name: task.decode(predictions[name].float()) for name, task in self.tasks.items()}
            for index, sample in enumerate(part):
                rows.append({"image": sample.name, **{name: answers[index] for name, answers in decoded.items()}})
        return rows

    def read(self, images: Any) -> NDArray[np.uint8]:
        """Images of a run with one camera as its trunk wants them, not normalised: ``[n, c, h, w]``.

        Args:
            images: as for :meth:`predict`.

        Raises:
            ValueError: as for :meth:`predict`.
        """
        (view,) = self.data.shapes
        samples = samples_of(images, self.data.shapes)
        return np.stack([pixels_of(sample.views[view], self.data.shapes[view]) for sample in samples])

    def export(self, out: Path) -> int:
        """Copies this run to a folder that evaluate, predict, diagnose and finetune-head read like the run.

        The copy has the weights of this checkpoint, the heads trained later, and the files that describe the run. It
        has no optimiser state, no other checkpoints and no logs.

        Args:
            out: a folder that does not exist yet, or is empty.

        Returns:
            The number of bytes written.

        Raises:
            ValueError: the folder holds something.
        """
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out} is not empty: choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        for name in ABOUT:
            if (self.path / name).is_file():
                shutil.copy2(self.path / name, out / name)
        without = shutil.ignore_patterns(checkpoint.TRAINING, ".*")
        for folder in (self.checkpoint, self.path / HEADS):
            if folder.is_dir():
                shutil.copytree(folder, out / folder.relative_to(self.path), ignore=without)
        return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        """Normalised pixels on the net's device, zeros for a view that a sample lacks, and which views each has."""
        views, present = {}, {}
        for view, shape in self.data.shapes.items():
            lacking = np.zeros(shape, np.uint8)
            views[view] = np.stack([pixels_of(s.views[view], shape) if view in s.views else lacking for s in samples])
            present[view] = np.array([view in sample.views for sample in samples])
        device = next(self.net.parameters()).device
        return DeviceSamples.of(Samples(views, {}, present)).to(device).batch({}, self.data.normalisation)


def load_run(folder: str | Path, checkpoint: str | None = None) -> LoadedRun:
    """A trained run, ready to predict and to evaluate; arguments and errors as for :class:`LoadedRun`."""
    return LoadedRun(folder, checkpoint)


def distilled_heads(
    tasks: Mapping[str, TaskConfig], data: DatasetInfo, device: torch.device
) -> dict[str, DistilledHead]:
    """Target column -> head of a trained run, for the distillations among the tasks.

    Raises:
        ValueError: no run there, it has no such head, or its images are of another shape.
    """
    heads: dict[str, DistilledHead] = {}
    for name, config in tasks.items():
        if not isinstance(config, DistillationConfig):
            continue
        trained = LoadedRun(config.teacher)
        if config.task not in trained.tasks or trained.configs[config.task].kind != "classification":
            choices = [head for head, other in trained.configs.items() if other.kind == "classification"]
            raise ValueError(
                f"tasks.{name}.task: {config.teacher} has no classification head {config.task!r}: "
                f"{nearest(config.task, choices)}"
            )
        if dict(trained.data.shapes) != dict(data.shapes):
            raise ValueError(
                f"tasks.{name}.teacher: {config.teacher} was trained on views {dict(trained.data.shapes)} "
                f"[c, h, w], this data has {dict(data.shapes)}"
            )
        names = trained.data.columns[trained.configs[config.task].target].names
        net = trained.net.to(device).requires_grad_(False)
        column = Column("teacher", names)
        normalisation = trained.data.normalisation, data.normalisation
        heads[config.target] = DistilledHead(net, config.task, column, *normalisation)
    return heads


def _checkpoint(path: Path, which: str | None) -> Path:
    saved = {folder.name: folder for folder in checkpoint.usable(path / "checkpoints")}
    if not saved:
        resume = shlex.join(["hybridvit", "train", str(path / "recipe.yaml"), "--out", str(path)])
        raise ValueError(f"{path} has no checkpoint yet: resume the run with {resume}")
    if which is not None and which not in saved:
        raise ValueError(f"{path} has no checkpoint {which!r}: {nearest(which, saved)}")
    return saved[which or list(saved)[-1]]
