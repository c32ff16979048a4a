"""A recipe's tasks, its trunk with a head for each of them as one net, and the trunk's whitening initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone
from hybridvit.config import nearest
from hybridvit.data.readers.manifest import ColumnRequest
from hybridvit.data.samples import ONE_VIEW, ColumnKind, Samples
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.hydra.views import ViewsBackbone, ViewsConfig
from hybridvit.layers.whitening import whiten_conv
from hybridvit.models import create_backbone
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.tasks.base import TargetInfo, Task
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training.evaluation import evaluation_mode


def column_requests(tasks: Mapping[str, TaskConfig], names: Mapping[str, tuple[str, ...]]) -> dict[str, ColumnRequest]:
    """The target columns that the tasks need, with the names that the user gave for them.

    Raises:
        ValueError: two tasks want one column to hold different things.
    """
    requests: dict[str, ColumnRequest] = {}
    for name, config in tasks.items():
        if not config.in_data:
            continue
        request = ColumnRequest(cast(ColumnKind, config.column), names.get(config.target))
        if requests.setdefault(config.target, request) != request:
            raise ValueError(
                f"tasks.{name} reads {config.target!r} as {request.kind}, another task as "
                f"{requests[config.target].kind}: give each a column of its own"
            )
    return requests


def create_task(name: str, config: TaskConfig, data: DatasetInfo, train: Samples | None = None) -> Task:
    """One task.

    Args:
        name: of the head.
        config: what it should be.
        data: what its column holds.
        train: training samples; None: the head's weights, with the scale of its targets, are loaded afterwards.

    Raises:
        ValueError: the task reads an unknown view, or needs the pixels of one view and names none.
    """
    if config.view is not None and config.view not in data.shapes:
        raise ValueError(f"tasks.{name}.view is {config.view!r}: {nearest(config.view, data.shapes)}")
    view = next(iter(data.shapes)) if len(data.shapes) == 1 else config.view
    target = TargetInfo(
        names=data.columns[config.target].names,
        image_size=data.shapes[view][1:] if view is not None else None,
        mask_size=data.sizes.get(config.target),
        values=train.targets[config.target] if train is not None and config.in_data else None,
    )
    return config.build(name, target)


def create_net(recipe: Recipe, data: DatasetInfo, tasks: Mapping[str, Task]) -> HydraNet:
    """The trunk of a recipe with a head for every task, randomly initialised.

    Raises:
        ValueError: the model does not fit the images, or ``views`` is given for a single image.
    """
    backbone: Any
    if data.shapes.keys() != {ONE_VIEW}:
        backbone = (recipe.views or ViewsConfig()).build(recipe.model, data.shapes, data.rig)
    elif recipe.views is not None:
        raise ValueError(f"{data.name} has one image for each sample, so views has no effect")
    else:
        channels, height, width = data.shapes[ONE_VIEW]
        backbone = create_backbone(recipe.model, (height, width), in_channels=channels)
    net = HydraNet(backbone, {})
    for task in tasks.values():
        add_head(net, task)
    return net


def add_head(net: HydraNet, task: Task) -> None:
    """Adds the head of a task, randomly initialised."""
    backbone: Any = net.backbone
    if task.view is not None and isinstance(backbone, ViewsBackbone):
        net.add_head(task.name, task.head(backbone.view_spec(task.view)), task.view)
    else:
        net.add_head(task.name, task.head(backbone.spec))


def whiten(backbone: nn.Module, images: Tensor) -> int:
    """Initialises the convolution that reads a backbone's images as the whitening transform of their windows.

    Args:
        backbone: of one camera.
        images: ``[n, c, h, w]``, normalised as in training, on the backbone's device; see ``whiten_conv``.

    Returns:
        The number of filters that were set.

    Raises:
        ValueError: no convolution reads the images, or one that cannot be a whitening transform.
    """
    if not isinstance(backbone, Backbone):
        raise ValueError(f"a whitening initialisation is for the images of one camera, given {type(backbone).__name__}")
    conv = first_conv(backbone, images[:1])
    owner = type(getattr(backbone, "tokenizer", backbone)).__name__
    if conv is None:
        raise ValueError(f"{owner} has no convolution that reads the images, so there is nothing to whiten")
    try:
        return whiten_conv(conv, images)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from error


def first_conv(backbone: Backbone, image: Tensor) -> nn.Conv2d | None:
    """The first convolution whose input is the image ``[1, c, h, w]`` itself; None where there is none."""
    convs: list[nn.Conv2d] = []

    def record(module: Any, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape == image.shape and torch.equal(inputs[0], image):
            convs.append(module)

    hooks = [m.register_forward_pre_hook(record) for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    try:
        with evaluation_mode(backbone):
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return convs[0] if convs else None
