"""Task configurations become tasks; what they need of the data is asked for here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hybridvit.config import nearest
from hybridvit.data.readers.manifest import ColumnRequest
from hybridvit.data.samples import Samples
from hybridvit.recipe import TaskConfig
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.tasks.base import Task
from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.tasks.detection import DetectionConfig, DetectionTask
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask
from hybridvit.tasks.keypoints import KeypointsConfig, KeypointsTask
from hybridvit.tasks.multilabel import MultilabelConfig, MultilabelTask
from hybridvit.tasks.regression import RegressionConfig, RegressionTask
from hybridvit.tasks.segmentation import SegmentationConfig, SegmentationTask


def column_requests(tasks: Mapping[str, TaskConfig], names: Mapping[str, tuple[str, ...]]) -> dict[str, ColumnRequest]:
    """The target columns that the tasks need, with the names that the user gave for them.

    Raises:
        ValueError: two tasks want one column to hold different things.
    """
    requests: dict[str, ColumnRequest] = {}
    for name, config in tasks.items():
        if isinstance(config, DistillationConfig):
            continue  # its target is what the teacher says
        request = ColumnRequest(config.column, names.get(config.target))
        if requests.setdefault(config.target, request) != request:
            raise ValueError(
                f"tasks.{name} reads {config.target!r} as {request.kind}, another task as "
                f"{requests[config.target].kind}: give each a column of its own"
            )
    return requests


def create_task(
    name: str,
    config: TaskConfig,
    data: DatasetInfo,
    train: Samples | None = None,
) -> Task:
    """One task.

    Args:
        name: of the head.
        config: what it should be.
        data: what its column holds.
        train: training samples, from which a regression takes the scale of its targets; None: the head's weights,
            which hold it, are read afterwards.

    Raises:
        ValueError: the task reads a view that is not there, or needs pixels of one view and does not say which.
    """
    view = config.view
    if view is not None and view not in data.shapes:
        raise ValueError(f"tasks.{name}.view is {view!r}: {nearest(view, data.shapes)}")
    names = data.columns[config.target].names
    match config:
        case ClassificationConfig():
            return ClassificationTask(name, names, config)
        case MultilabelConfig():
            return MultilabelTask(name, names, config)
        case RegressionConfig():
            return RegressionTask(name, names, config, *_scale(config, train))
        case SegmentationConfig():
            return SegmentationTask(name, names, config, data.sizes[config.target])
        case KeypointsConfig():
            return KeypointsTask(name, names, config, _pixels(name, view, data))
        case DetectionConfig():
            return DetectionTask(name, names, config, _pixels(name, view, data))
        case DistillationConfig():
            return DistillationTask(name, names, config)


def _scale(config: RegressionConfig, train: Samples | None) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[()]:
    """Mean and standard deviation of each component over its labels; a component without contrast keeps its scale."""
    if train is None or config.angle != "none":
        return ()
    values = train.targets[config.target].astype(np.float64)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    std = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(axis=0) / count)
    return tuple(mean.tolist()), tuple(np.where(std > 1e-12, std, 1.0).tolist())


def _pixels(name: str, view: str | None, data: DatasetInfo) -> tuple[int, int]:
    if view is None and len(data.shapes) > 1:
        raise ValueError(f"tasks.{name} finds things in an image: say in which, as in --tasks.{name}.view VIEW")
    _, height, width = data.shapes[view if view is not None else next(iter(data.shapes))]
    return height, width
