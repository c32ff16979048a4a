"""Metrics that torchmetrics lacks, and some of its own that are NaN without data, where torchmetrics gives 0 or -1.

Importing torchmetrics takes a second, so tasks import this file where they make their metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import BinaryF1Score, MulticlassJaccardIndex
from torchmetrics.detection import MeanAveragePrecision as CocoAveragePrecision
from torchmetrics.utilities import dim_zero_cat

NAN = float("nan")


def collection(**metrics: Metric) -> MetricCollection:
    """Metrics by name, each updated on its own."""
    return MetricCollection(dict(metrics), compute_groups=False)


class Silent(Metric):
    """A metric that may be asked before it has seen anything, without a warning."""

    @property
    def update_called(self) -> bool:
        return True


class Mean(Silent, MeanMetric):
    """Mean of all values it is given."""


class MeanIoU(Silent, MulticlassJaccardIndex):
    """Mean over the classes that occur in labels or predictions, of intersection over union of all pixels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="macro", validate_args=False)


class F1(Silent, BinaryF1Score):
    """2 · true positives / (2 · true positives + false ones of both kinds), over all entries alike."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def update(self, preds: Tensor, target: Tensor) -> None:
        """preds and target ``[n]`` of 0 and 1; n may be 0."""
        if len(target):
            super().update(preds, target)

    def compute(self) -> Tensor:
        value = super().compute()
        return torch.where(self.tp + self.fp + self.fn > 0, value, NAN)


class MeanAveragePrecision(Silent):
    """Average precision of each class, averaged over the classes with a positive and a negative label.

    Average precision is Σ (R_n − R_{n−1}) P_n over the thresholds, without interpolation; −1 marks unknown labels.
    """

    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """scores ``[b, classes]``, labels ``[b, classes]`` of 0, 1 and -1."""
        self.scores.append(scores.float())
        self.labels.append(labels)

    def compute(self) -> Tensor:
        from sklearn.metrics import average_precision_score

        if not self.scores:
            return torch.tensor(NAN)
        scores, labels = dim_zero_cat(self.scores).cpu(), dim_zero_cat(self.labels).cpu()
        if not scores.isfinite().all():
            return torch.tensor(NAN)
        values = [
            average_precision_score((of_class[of_class >= 0] == 1).numpy(), score[of_class >= 0].numpy())
            for score, of_class in zip(scores.T, labels.T, strict=True)
            if (of_class == 1).any() and (of_class == 0).any()
        ]
        return torch.tensor(values).mean()


class R2(Silent):
    """1 - squared error / variance of the labels, of each component over its labels; their mean.

    A component whose labels are all the same does not count.

    Args:
        origins: a number near each component's labels, from which they are measured: large ones keep their digits.
    """

    origin: Tensor
    count: Tensor
    total: Tensor
    squares: Tensor
    errors: Tensor

    def __init__(self, origins: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("origin", torch.tensor(origins, dtype=torch.float64), persistent=False)
        for state in ("count", "total", "squares", "errors"):
            self.add_state(state, default=torch.zeros_like(self.origin), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """prediction and target ``[b, components]``; NaN in the target: unknown."""
        labelled = ~target.isnan()
        label = torch.where(labelled, target.double() - self.origin, 0)
        self.count += labelled.sum(0)
        self.total += label.sum(0)
        self.squares += label.square().sum(0)
        self.errors += torch.where(labelled, prediction.double() - target, 0).square().sum(0)

    def compute(self) -> Tensor:
        spread = self.squares - self.total.square() / self.count
        varied = spread > 1e-12 * self.squares  # beyond what rounding leaves of equal labels
        return torch.where(varied, 1 - self.errors / spread, NAN).nanmean()


class ComponentMean(Silent):
    """Mean of each component over its values; their mean over the components that have any."""

    count: Tensor
    total: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        for state in ("count", "total"):
            self.add_state(state, default=torch.zeros(components, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """values ``[b, components]``; NaN: unknown."""
        self.count += (~values.isnan()).sum(0)
        self.total += values.double().nansum(0)

    def compute(self) -> Tensor:
        return (self.total / self.count).nanmean()


class BoxAveragePrecision(Silent, CocoAveragePrecision):
    """COCO's average precision of boxes, as "ap" (mean over IoU of 0.50 to 0.95) and "ap50".

    Raises:
        ValueError: pycocotools is not installed.
    """

    warn_on_many_detections = False

    def __init__(self) -> None:
        try:
            super().__init__()
        except ModuleNotFoundError as error:
            raise ValueError("the metrics of detection need pycocotools: pip install pycocotools") from error

    def compute(self) -> dict[str, Tensor]:
        if not self.groundtruth_labels:
            return {"ap": torch.tensor(NAN), "ap50": torch.tensor(NAN)}
        measured = super().compute()
        values = {"ap": measured["map"], "ap50": measured["map_50"]}
        return {name: torch.where(value < 0, NAN, value) for name, value in values.items()}
