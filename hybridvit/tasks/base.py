"""What a task is: a head, a loss, a metric and the name of its target column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from hybridvit.backbones.features import FeatureSpec

if TYPE_CHECKING:
    from torchmetrics import Metric


class Task(ABC):
    """One question asked of every image.

    A sample without a label contributes nothing to loss or metric.

    Attributes:
        name: key of the task's predictions.
        target: name of its target column.
        higher_is_better: for each metric, the first of which selects checkpoints.
    """

    name: str
    target: str
    higher_is_better: ClassVar[dict[str, bool]]

    @abstractmethod
    def head(self, spec: FeatureSpec) -> nn.Module:
        """A fresh head that maps Features of this spec to predictions."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss over the labelled samples, a scalar; 0 where there are none."""

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric whose ``compute()`` is the first of ``higher_is_better``."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """Predictions as something a person reads, one mapping for each image."""
