"""One head of a trained run, trained alone on cached features; nothing else of the run changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from hybridvit.config import to_yaml
from hybridvit.data.load import load
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import SPLITS
from hybridvit.hydra.feature_cache import FrozenTrunk
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.recipe import HeadFinetuneConfig
from hybridvit.runs.cached_features import CachedBatches, write_features
from hybridvit.runs.dataset_info import columns_to_json, mask_sizes
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.net import column_requests, create_task
from hybridvit.runs.stored_heads import HEADS, REMOVED, StoredHead, make_room
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.engine import Trainer
from hybridvit.training.evaluation import evaluate
from hybridvit.training.history import OnStep
from hybridvit.training.run_folder import RunFolder, device_name, revision, versions


class HeadFinetune:
    """A head to be trained on what a run's trunk sees.

    Args:
        trained: the run.
        name: of the head; a name that the run does not know adds a head.
        config: what it should be, and how it is trained.
        command: the command to record in the result.

    Raises:
        ValueError: the head's column is not in the run's data, or no training sample has a label for it.
    """

    def __init__(self, trained: LoadedRun, name: str, config: HeadFinetuneConfig, command: str = "") -> None:
        self.trained, self.name, self.config, self.command = trained, name, config, command
        recipe = trained.recipe
        own = column_requests({name: config.head}, recipe.data.names)
        self.splits = load(recipe.data, recipe.seed, column_requests(recipe.tasks, recipe.data.names), own)
        train = self.splits.train
        target = config.head.target
        self.column = self.splits.columns[target]
        self.sizes = mask_sizes({target: self.column}, train)

        self.was = name in trained.tasks
        goes_on = self.was and not config.fresh and trained.configs[name] == config.head
        torch.manual_seed(config.seed)
        data = trained.data.with_columns({target: self.column}, self.sizes)
        if self.was and not goes_on:
            trained.remove(name)
        if not goes_on:
            trained.add(name, config.head, data, train)
        self.task = create_task(name, config.head, data, train)
        self.folder = trained.path / HEADS / name

    def fit(
        self,
        on_features: Callable[[str, int, int], None] | None = None,
        on_step: OnStep | None = None,
    ) -> dict[str, Any]:
        """Writes the features that are not stored yet, trains, and returns the result."""
        began = time.perf_counter()
        folder = self._open()
        if folder.result is not None:
            return folder.result
        trained, name = self.trained, self.name
        reads = {name: self.task.view} if self.task.view is not None else {}
        with_trunk = HydraNet(trained.net.backbone, {name: trained.net.heads[name]}, reads)
        caches = write_features(trained, self.splits, with_trunk, on_features)
        seconds = time.perf_counter() - began
        accelerator = make_accelerator(self.config.train.precision)
        device = accelerator.device
        order = BatchSampler(
            self.splits.train.sources, self.config.train.batch_size, self.config.seed, SamplingConfig()
        )
        splits_of_features = {
            split: CachedBatches(
                caches.get(split), getattr(self.splits, split), self.task.target, self.column, order, device
            )
            for split in SPLITS
        }
        net = HydraNet(FrozenTrunk(), {name: trained.net.heads[name]}, reads).to(device)
        tasks = {name: self.task}
        folder.start(self._about())
        trainer = Trainer(
            net,
            tasks,
            self.config.train,
            self.config.optim,
            splits_of_features["train"],
            splits_of_features["validation"],
            accelerator=accelerator,
            folder=folder,
        )
        history = trainer.fit(on_step)
        test = splits_of_features["test"]
        result = {
            "run": str(trained.path),
            "task": name,
            "kind": self.config.head.kind,
            "test": evaluate(trainer.evaluated, tasks, test, accelerator) if len(test) else None,
            "test_images": len(test),
            "validation": history.best,
            "validation_images": len(self.splits.validation),
            "selected_step": history.best_step if history.best is not None else self.config.train.steps,
            "steps": self.config.train.steps,
            "history": {"steps": history.steps, "loss": history.loss},
            "seconds": {"features": seconds, "train": history.seconds, "total": time.perf_counter() - began},
            "device": device_name(device),
            "versions": versions(),
            "revision": revision(),
            "command": self.command,
        }
        (self.folder / REMOVED).unlink(missing_ok=True)
        folder.finish(result)
        return result

    def _open(self) -> RunFolder:
        """The head's folder; one of other settings or of another trunk is moved aside."""
        yaml = to_yaml(self.config)
        held = self.folder / "recipe.yaml"
        same = held.exists() and held.read_text(encoding="utf-8") == yaml and not (self.folder / REMOVED).exists()
        if same and (self.folder / "dataset.json").exists():
            same = StoredHead(self.folder, False).about["trunk"] == self.trained.trunk
        if self.folder.exists() and not same:
            make_room(self.folder)
        return RunFolder(self.folder, yaml)

    def _about(self) -> dict[str, Any]:
        return {
            "trunk": self.trained.trunk,
            "checkpoint": self.trained.checkpoint.name,
            **columns_to_json({self.task.target: self.column}, self.sizes),
        }
