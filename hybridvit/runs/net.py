"""A recipe's trunk and heads become one net."""

from __future__ import annotations

from collections.abc import Mapping

from hybridvit.data.samples import ONE_VIEW
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.hydra.views import ViewsConfig
from hybridvit.models import create_backbone
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.tasks.base import Task

EVALUATION_BATCH = 1024
EVALUATION_VALUES = 8 * 1024 * 1024  # pixel values in a batch of evaluation, where images are large


def create_net(recipe: Recipe, data: DatasetInfo, tasks: Mapping[str, Task]) -> HydraNet:
    """The trunk of a recipe with a head for every task, randomly initialised.

    Raises:
        ValueError: the model does not fit the images, or ``views`` is given for a single image.
    """
    reads = {name: task.view for name, task in tasks.items() if task.view is not None}
    if data.shapes.keys() == {ONE_VIEW}:
        if recipe.views is not None:
            raise ValueError(f"{data.name} has one image for each sample, so views has no effect")
        channels, *size = data.shapes[ONE_VIEW]
        backbone = create_backbone(recipe.model, (size[0], size[1]), in_channels=channels)
        return HydraNet(backbone, {name: task.head(backbone.spec) for name, task in tasks.items()})
    views = (recipe.views or ViewsConfig()).build(recipe.model, data.shapes, data.rig)
    heads = {
        name: task.head(views.view_spec(task.view) if task.view is not None else views.spec)
        for name, task in tasks.items()
    }
    return HydraNet(views, heads, reads)


def evaluation_batch(shapes: Mapping[str, tuple[int, int, int]]) -> int:
    """Samples in a batch of evaluation, fewer where images are large."""
    values = sum(c * h * w for c, h, w in shapes.values())
    return max(min(EVALUATION_BATCH, EVALUATION_VALUES // values), 1)
