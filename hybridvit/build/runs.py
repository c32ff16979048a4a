"""Recipes and run folders become things that train, evaluate and predict."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from hybridvit.backbones.weights import load_weights
from hybridvit.build.models import create_backbone
from hybridvit.config import from_yaml, nearest
from hybridvit.data.datasets import load
from hybridvit.data.device_loader import DeviceLoader, EvaluationLoader, Normalisation
from hybridvit.data.folder import read_image
from hybridvit.diagnostics.gates import gates
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.layers.gpsa import GPSA
from hybridvit.recipe import Recipe
from hybridvit.tasks.classification import ClassificationTask
from hybridvit.training import checkpoint
from hybridvit.training.engine import Trainer, evaluate, make_accelerator, read_or_offer
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
        self.splits = load(recipe.data, recipe.seed)
        channels, *size = self.splits.image_shape
        self.normalisation = Normalisation.of(self.splits.train.images)
        task = ClassificationTask("label", self.splits.class_names, recipe.task)
        self.tasks = {task.name: task}
        self.accelerator = make_accelerator(recipe.train.precision, cpu)
        device = self.accelerator.device
        torch.manual_seed(recipe.seed)
        backbone = create_backbone(recipe.model, (size[0], size[1]), in_channels=channels)
        if recipe.weights is not None:
            load_weights(backbone, recipe.weights)
        self.net = HydraNet(backbone, {task.name: task.head(backbone.spec)}).to(device)

        def evaluation(part: Any) -> EvaluationLoader:
            return EvaluationLoader(part, task.target, self.normalisation, 1024, device)

        self.test = evaluation(self.splits.test)
        probes: dict[str, Callable[[nn.Module], Any]] = {}
        if any(isinstance(module, GPSA) for module in backbone.modules()):
            probes["gates"] = lambda net: gates(net).tolist()
        self.trainer = Trainer(
            self.net,
            self.tasks,
            DeviceLoader(
                self.splits.train,
                task.target,
                self.normalisation,
                recipe.augment,
                recipe.train.batch_size,
                recipe.seed,
                device,
            ),
            evaluation(self.splits.validation),
            recipe.train,
            recipe.optim,
            self.accelerator,
            folder,
            probes,
        )

    @property
    def params(self) -> int:
        """Number of trained parameters, heads included."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def fit(self, on_step: Callable[[int, float], None] | None = None) -> dict[str, Any]:
        """Trains, reads the test split once, and returns the result file's content."""
        began = time.perf_counter()
        if self.folder is not None:
            self.folder.start(self.dataset)
        history = self.trainer.fit(on_step)
        test = evaluate(self.trainer.evaluated, self.tasks, self.test, self.accelerator) if len(self.test) else None
        result = {
            "recipe": self.recipe.name,
            "model": self.recipe.model.kind,
            "dataset": self.splits.name,
            "train_images": len(self.splits.train),
            "image_size": list(self.splits.image_shape[1:]),
            "seed": self.recipe.seed,
            "steps": self.recipe.train.steps,
            "params": self.params,
            "test": test,
            "test_images": len(self.splits.test),
            "validation": history.best,
            "validation_images": len(self.splits.validation),
            "selected_step": history.best_step if history.best is not None else self.recipe.train.steps,
            "history": {"steps": history.steps, "loss": history.loss, **history.probes},
            "seconds": {"train": history.seconds, "compile": 0.0, "total": time.perf_counter() - began},
            "device": device_name(self.accelerator.device),
            "versions": versions(),
            "revision": revision(),
            "command": self.command,
        }
        if self.folder is not None:
            self.folder.finish(result)
        return result

    @property
    def dataset(self) -> dict[str, Any]:
        """What a prediction needs to know about the data."""
        return {
            "name": self.splits.name,
            "class_names": list(self.splits.class_names),
            "image_shape": list(self.splits.image_shape),
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "images": {part: len(getattr(self.splits, part)) for part in ("train", "validation", "test")},
        }


class Trained:
    """A run read back for use; needs no training data.

    Args:
        path: the run folder.
        which: name of a checkpoint; None: the best on validation data, else the last.

    Raises:
        ValueError: no run there, no such checkpoint, or one that is corrupt (another one is offered).
    """

    def __init__(self, path: Path, which: str | None = None) -> None:
        if not (path / "recipe.yaml").is_file() or not (path / "dataset.json").is_file():
            raise ValueError(f"{path} is not a run folder: it has no recipe.yaml and dataset.json")
        self.recipe = from_yaml(Recipe, (path / "recipe.yaml").read_text(encoding="utf-8"))
        dataset = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
        self.channels, *self.size = dataset["image_shape"]
        self.normalisation = Normalisation(tuple(dataset["mean"]), tuple(dataset["std"]))
        task = ClassificationTask("label", dataset["class_names"], self.recipe.task)
        self.tasks = {task.name: task}

        saved = {folder.name: folder for folder in checkpoint.step_folders(path / "checkpoints")}
        best = path / "checkpoints" / checkpoint.BEST
        if best.is_dir():
            saved[best.name] = best
        if not saved:
            raise ValueError(f"{path} has no checkpoint yet")
        if which is not None and which not in saved:
            raise ValueError(f"{path} has no checkpoint {which!r}: {nearest(which, saved)}")
        self.checkpoint = saved[which] if which is not None else list(saved.values())[-1]
        tensors = read_or_offer(self.checkpoint, checkpoint.WEIGHTS, "choose it with --checkpoint")
        backbone = create_backbone(self.recipe.model, (self.size[0], self.size[1]), in_channels=self.channels)
        self.net = HydraNet(backbone, {task.name: task.head(backbone.spec)})
        checkpoint.load_state(self.net, tensors, self.checkpoint)
        self.net.eval()

    def evaluate(self, split: Literal["test", "validation"]) -> tuple[dict[str, dict[str, float]], int]:
        """Metrics of each task on a split of the run's data, and its number of images."""
        part = getattr(load(self.recipe.data, self.recipe.seed), split)
        if not len(part):
            raise ValueError(f"the data of this run has no {split} images")
        accelerator = make_accelerator(self.recipe.train.precision)
        loader = EvaluationLoader(part, self.recipe.task.target, self.normalisation, 1024, accelerator.device)
        return evaluate(self.net.to(accelerator.device), self.tasks, loader, accelerator), len(part)

    @torch.no_grad()
    def predict(self, images: Sequence[Path]) -> list[dict[str, Any]]:
        """What every task says of each image file, as ``{"image": path, task: {...}}``.

        Raises:
            ValueError: a file that cannot be read.
        """
        pixels = [read_image(image, self.channels, (self.size[0], self.size[1])) for image in images]
        rows: list[dict[str, Any]] = [{"image": str(image)} for image in images]
        for start in range(0, len(pixels), 256):
            batch = torch.from_numpy(np.stack(pixels[start : start + 256]))
            predictions = self.net(self.normalisation(batch))
            for name, task in self.tasks.items():
                for row, decoded in zip(rows[start:], task.decode(predictions[name]), strict=False):
                    row[name] = decoded
        return rows
