"""Which metrics a task has, and which way is better, before there is any data."""

from __future__ import annotations

from dataclasses import replace

from hybridvit.data.samples import ONE_VIEW, Column
from hybridvit.recipe import TaskConfig
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.tasks import create_task

SIZE = (32, 32)


def higher_is_better(config: TaskConfig) -> dict[str, bool]:
    """Metric name -> whether more is better, for a task of this configuration."""
    config = replace(config, view=None)
    column = Column(config.column, ("stand-in",))
    data = DatasetInfo("", {config.target: column}, {ONE_VIEW: (3, *SIZE)}, {}, {config.target: SIZE}, {}, None)
    return dict(create_task("stand-in", config, data).higher_is_better)
