"""A class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hybridvit.backbones.features import FeatureSpec
from hybridvit.layers.dense import enlarge
from hybridvit.tasks.base import UNLABELLED, Metrics, TargetInfo, Task
from hybridvit.tasks.heads import DenseHead, DenseTaskConfig


class SegmentationConfig(DenseTaskConfig):
    """Settings of a segmentation task; its classes come from the data.

    Attributes:
        stride: of the predicted grid, in pixels; None: that of the finest feature map of at least 4, or the finest;
            other fields as in :class:`DenseTaskConfig`.
    """

    column: ClassVar[str] = "mask"

    kind: Literal["segmentation"] = "segmentation"

    def build(self, name: str, data: TargetInfo) -> SegmentationTask:
        assert data.mask_size is not None, f"a column of masks has a size, task {name}"
        return SegmentationTask(name, data.names, self, data.mask_size)


class SegmentationTask(Task):
    """Cross entropy of every pixel; single pixels may be unlabelled, -1.

    Predictions ``[b, classes, gh, gw]`` are logits of a grid, enlarged bilinearly to the pixels they are compared
    with (as in FCN, arXiv 1411.4038, with fixed weights).
    """

    higher_is_better: Mapping[str, bool] = {"miou": True, "pixel_accuracy": True}

    def head(self, spec: FeatureSpec) -> DenseHead:
        return DenseHead(spec, len(self.names), self.config.width, self.config.stride)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction ``[b, classes, gh, gw]``, target ``[b, h, w]`` -> mean over all labelled pixels of the batch."""
        labelled = self.labelled(target)[:, None, None, None]
        logits = enlarge(torch.where(labelled, prediction.float(), 0), (target.shape[-2], target.shape[-1]))
        total = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="sum")
        return total / (target != UNLABELLED).sum().clamp(min=1)

    def metric(self) -> Metrics:
        """Intersection over union and accuracy of all pixels of the split, not image by image; in [0, 1].

        The former is the mean over the classes that occur in labels or predictions.
        """
        from hybridvit.tasks.metrics import Mean, MeanIoU, collection

        return collection(miou=MeanIoU(len(self.names)), pixel_accuracy=Mean())

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        labelled = self.labelled(target)
        valid = target[labelled] != UNLABELLED
        label = target[labelled][valid]
        predicted = self._classes(prediction[labelled], (target.shape[-2], target.shape[-1]))[valid]
        metric["miou"].update(predicted, label)
        metric["pixel_accuracy"].update((predicted == label).float())

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """Each image's mask, uint8 ``[h, w]`` of class indices, and the share of its pixels in each class."""
        masks = self._classes(prediction, self.image_size).cpu().numpy().astype(np.uint8)
        rows: list[dict[str, Any]] = []
        for mask in masks:
            shares = np.bincount(mask.ravel(), minlength=len(self.names)) / mask.size
            rows.append({"mask": mask, "shares": dict(zip(self.names, shares.tolist(), strict=True))})
        return rows

    def _classes(self, prediction: Tensor, size: tuple[int, int]) -> Tensor:
        """``[b, classes, gh, gw]`` -> the most probable class of each pixel, ``[b, *size]``."""
        return enlarge(prediction.float(), size).argmax(dim=1)
