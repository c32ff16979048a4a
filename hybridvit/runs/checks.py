"""Whether a recipe, its data and its model fit together, asked before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from hybridvit.config import nearest
from hybridvit.data.augment.transforms import AugmentConfig, check_augmentation
from hybridvit.data.loaders.progressive import shrunk
from hybridvit.data.readers.manifest import ColumnRequest
from hybridvit.data.samples import ONE_VIEW, Samples, Splits, labelled
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.recipe import Recipe
from hybridvit.tasks.base import Task
from hybridvit.training.evaluation import evaluation_mode


def check_columns(requests: Mapping[str, ColumnRequest], splits: Splits) -> None:
    """Refuses data without a column that a task reads, or with one that holds something else."""
    for name, request in requests.items():
        if name not in splits.columns:
            hint = nearest(name, splits.columns)
            raise ValueError(f"{splits.name} has no target {name!r}, which a task reads: {hint}")
        kind = splits.columns[name].kind
        if kind != request.kind:
            raise ValueError(f"target {name!r} of {splits.name} holds {kind}, and a task reads it as {request.kind}")


def check_mixing(recipe: Recipe, tasks: Mapping[str, Task]) -> None:
    """Refuses mixup and CutMix where a task cannot learn from mixed images."""
    fixed = [name for name, task in tasks.items() if not task.mixable]
    for field in ("mixup", "cutmix"):
        if getattr(recipe.augment, field) and fixed:
            raise ValueError(f"augment.{field} mixes images, and task {fixed[0]} cannot learn from mixed ones")


def check_augmentation_of(recipe: Recipe, splits: Splits) -> None:
    """Refuses sampling without effect, and augmentation that these images or their targets do not allow."""
    if recipe.sampling.kind != "size" and splits.train.source is None:
        raise ValueError(f"sampling {recipe.sampling.kind} has no effect: the data is a single data set")
    done = [n for n, value in vars(recipe.augment).items() if value != getattr(AugmentConfig, n) and n != "repeats"]
    if splits.shapes.keys() != {ONE_VIEW} and done:
        raise ValueError(f"augment.{done[0]} is for one image a sample: it would treat the images of cameras apart")
    check_augmentation(recipe.augment, splits.columns, next(iter(splits.shapes.values())))


def check_sizes(recipe: Recipe, net: HydraNet, shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuses sizes that the model cannot see, before training comes to them.

    Raises:
        ValueError: naming the size.
    """
    for side in sorted({side for _, side in recipe.progressive.sizes}):
        image = shrunk(next(net.parameters()).new_zeros(1, *shapes[ONE_VIEW]), side)
        try:
            with evaluation_mode(net):
                net(image)
        except ValueError as error:
            raise ValueError(f"progressive.sizes, {side} pixels: {error}") from error


def count_labels(task: Task, splits: Splits) -> dict[str, int]:
    """Samples with a label, by part; a distillation's teacher labels all."""
    counts = {}
    for split in ("train", "validation", "test"):
        samples: Samples = getattr(splits, split)
        if task.target not in splits.columns:
            counts[split] = len(samples)
            continue
        mask = labelled(splits.columns[task.target].kind, samples.targets[task.target])
        if task.view is not None and task.view in samples.present:
            mask = mask & samples.present[task.view]
        counts[split] = int(mask.sum())
    return counts


def warn_of_unlabelled(counts: Mapping[str, Mapping[str, int]], splits: Splits) -> None:
    """Names every task that a part has no label for.

    Raises:
        ValueError: no task has any training label.
    """
    if not any(by_split["train"] for by_split in counts.values()):
        raise ValueError(f"no training sample of {splits.name} has a label for any of the tasks {', '.join(counts)}")
    for name, by_split in counts.items():
        if not by_split["train"]:
            warnings.warn(f"task {name}: no training sample has a label, so its head stays as it is", stacklevel=3)
        for split, meaning in (("validation", "selection leaves it out"), ("test", "it has no test result")):
            if len(getattr(splits, split)) and not by_split[split]:
                warnings.warn(f"task {name}: no {split} sample has a label, so {meaning}", stacklevel=3)
