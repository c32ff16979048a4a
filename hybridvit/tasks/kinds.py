"""The tasks that a recipe can choose from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.detection import DetectionConfig
from hybridvit.tasks.distillation import DistillationConfig
from hybridvit.tasks.keypoints import KeypointsConfig
from hybridvit.tasks.multilabel import MultilabelConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.tasks.segmentation import SegmentationConfig

TaskConfig = Annotated[
    ClassificationConfig
    | MultilabelConfig
    | RegressionConfig
    | SegmentationConfig
    | KeypointsConfig
    | DetectionConfig
    | DistillationConfig,
    Discriminator("kind"),
]
