"""Any number of classes out of a list for each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridvit.backbones.features import FeatureSpec
from hybridvit.tasks.base import ImageTask, Metrics, TargetInfo
from hybridvit.tasks.heads import VectorHead, VectorTaskConfig


class MultilabelConfig(VectorTaskConfig):
    """Settings of a multi-label task; its classes come from the data. Fields as in :class:`VectorTaskConfig`."""

    column: ClassVar[str] = "multilabel"

    kind: Literal["multilabel"] = "multilabel"

    def build(self, name: str, data: TargetInfo) -> MultilabelTask:
        return MultilabelTask(name, data.names, self)


class MultilabelTask(ImageTask):
    """Binary cross entropy of every class; single entries may be unknown, -1."""

    higher_is_better: Mapping[str, bool] = {"map": True, "f1": True}

    def head(self, spec: FeatureSpec) -> VectorHead:
        return VectorHead(spec, len(self.names), self.config.pooling, self.config.hidden)

    def losses(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """prediction ``[b, classes]``, target ``[b, classes]`` of 0, 1 and -1 -> ``[b, classes]`` twice."""
        labelled = target >= 0
        logits = torch.where(labelled, prediction.float(), 0)
        losses = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0).float(), reduction="none")
        return torch.where(labelled, losses, 0), labelled

    def metric(self) -> Metrics:
        """In [0, 1]: average precision, mean over the classes with a positive and a negative label, and F1.

        F1 is taken over all known entries alike (micro), at probability 0.5.
        """
        from hybridvit.tasks.metrics import F1, MeanAveragePrecision, collection

        return collection(map=MeanAveragePrecision(), f1=F1())

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        samples, labelled = self.labelled(target), target >= 0
        metric["map"].update(prediction[samples], target[samples])
        metric["f1"].update((prediction[labelled] >= 0).long(), target[labelled])

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """The classes of probability 0.5 or more, and the probability of every class."""
        return [
            {
                "classes": [name for name, p in zip(self.names, row, strict=True) if p >= 0.5],
                "probabilities": dict(zip(self.names, row, strict=True)),
            }
            for row in prediction.float().sigmoid().tolist()
        ]
