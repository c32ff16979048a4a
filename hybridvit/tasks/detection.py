"""Where objects are, each in a box, and what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.config import Fraction
from hybridvit.tasks.base import Metrics, TargetInfo, Task
from hybridvit.tasks.heads import DenseHead, DenseTaskConfig, point_stride

START_PROBABILITY = 0.1  # of every cell and class (CornerNet's start value)
LARGEST_LOG = 10.0  # of a distance in cells: beyond any image
BOX_WEIGHT = 5.0  # of the boxes in the loss (arXiv 1909.00700); on drawn shapes better than 1 and 2
SMALLEST_AREA = 1e-7  # in square pixels, for boxes without one
OVERLAP = 0.5  # intersection over union from which two boxes of a class are one object
SPREAD = 0.54  # share of a box's sides that its Gaussian covers (arXiv 1909.00700)
COCO_MAXIMUM = 100  # boxes of an image that COCO's metric counts


class DetectionConfig(DenseTaskConfig):
    """Settings of a detection task; its classes come from the data.

    Attributes:
        stride: of the grid of cells, in pixels, no larger than the smallest objects; None: 4, or the coarsest
            feature map's where all are finer.
        score_threshold: decoded objects have at least this score; the metrics count all.
        max_detections: most objects of an image; other fields as in :class:`DenseTaskConfig`.
    """

    column: ClassVar[str] = "boxes"

    kind: Literal["detection"] = "detection"
    score_threshold: Fraction = 0.3
    max_detections: Annotated[int, Interval(ge=1, le=COCO_MAXIMUM)] = COCO_MAXIMUM

    def build(self, name: str, data: TargetInfo) -> DetectionTask:
        return DetectionTask(name, data.names, self, data.pixels(name))


class DetectionHead(DenseHead):
    """A dense head that answers with class logits and positive distances; arguments as for :class:`DenseHead`."""

    def __init__(self, spec: FeatureSpec, num_classes: int, width: int, stride: int | None) -> None:
        super().__init__(spec, num_classes + 4, width, stride)
        self.num_classes = num_classes
        start = math.log(START_PROBABILITY / (1 - START_PROBABILITY))
        self.out.bias = nn.Parameter(torch.tensor([start] * num_classes + [0.0] * 4))

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, classes + 4, gh, gw]``, the last four the exponentials of what the layer gives."""
        logits, logs = super().forward(features).split([self.num_classes, 4], dim=1)
        return torch.cat([logits.float(), logs.float().clamp(max=LARGEST_LOG).exp()], dim=1)


class DetectionTask(Task):
    """A heat map of object centres for each class, and at each cell the box around it.

    Predictions are ``[b, classes + 4, gh, gw]``: logits that an object's centre lies in the cell (CenterNet, arXiv
    1904.07850, eq. 1), and the distances from the cell's centre to the left, upper, right and lower edge of its box,
    positive, in cells (FCOS, arXiv 1904.01355, eq. 1). The loss is the penalty-reduced focal loss of all cells and
    classes over the number of objects, plus 5 times the mean over the objects of 1 - GIoU (arXiv 1902.09630) in a
    Gaussian neighbourhood of their centres (as in arXiv 1909.00700). A labelled image without objects pushes
    its heat maps down; in an image without labels the target is NaN throughout.
    """

    higher_is_better: Mapping[str, bool] = {"ap": True, "ap50": True}

    def head(self, spec: FeatureSpec) -> DetectionHead:
        stride = point_stride(spec, self.config.stride)
        return DetectionHead(spec, len(self.names), self.config.width, stride)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction ``[b, classes + 4, gh, gw]``, target ``[b, m, 5]`` of class, x1, y1, x2, y2 -> scalar."""
        labelled = self.labelled(target)[:, None, None, None]
        classes = len(self.names)
        logits = torch.where(labelled, prediction[:, :classes].float(), 0)
        distances = torch.where(labelled, prediction[:, classes:].float(), 1)
        learned = box_targets(target, (logits.shape[2], logits.shape[3]), self.image_size, classes)
        focal = torch.where(labelled, _focal_losses(logits, learned.heat), 0).sum()
        box_losses = 1 - overlap(self._edges(distances), learned.boxes)
        boxes = BOX_WEIGHT * torch.where(learned.weights > 0, box_losses * learned.weights, 0).sum()
        return (focal + boxes) / learned.objects.clamp(min=1)

    def metric(self) -> Metrics:
        """COCO's average precision, in [0, 1]: "ap", over IoU thresholds of 0.50 to 0.95, and "ap50".

        Raises:
            ValueError: pycocotools is not installed.
        """
        from hybridvit.tasks.metrics import BoxAveragePrecision, collection

        return collection(boxes=BoxAveragePrecision())

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        labelled = self.labelled(target)
        detections = [
            {"boxes": boxes, "scores": scores, "labels": labels}
            for boxes, scores, labels in self.detections(prediction[labelled], 0.0)
        ]
        targets = [
            {"boxes": rows[:, 1:], "labels": rows[:, 0].long()}
            for rows in (rows[rows[:, 0] >= 0] for rows in target[labelled])
        ]
        metric["boxes"].update(detections, targets)

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """The objects of each image, best first: class, score, and the box x1, y1, x2, y2 in pixels."""
        return [
            {
                "objects": [
                    {"class": self.names[label], "score": score, "box": box}
                    for box, score, label in zip(*(part.tolist() for part in parts), strict=True)
                ]
            }
            for parts in self.detections(prediction, self.config.score_threshold)
        ]

    def detections(self, prediction: Tensor, score_threshold: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes ``[n, 4]`` in pixels, scores ``[n]`` and classes ``[n]`` of each image, best first.

        Cells whose score is the largest of 3 x 3 cells around them, then non-maximum suppression in each class.
        """
        from torchvision.ops import batched_nms

        classes = len(self.names)
        logits = prediction[:, :classes].float()
        peaks = torch.where(logits == F.max_pool2d(logits, 3, 1, 1), logits.sigmoid(), 0).flatten(1)
        boxes = self._boxes(prediction[:, classes:].float()).flatten(1, 2)
        cells = boxes.shape[1]
        top, index = peaks.topk(min(4 * self.config.max_detections, peaks.shape[1]))
        results = []
        for box, score, at in zip(boxes, top, index, strict=True):
            keep = (score > 0) & (score >= score_threshold)
            score, label, box = score[keep], at[keep] // cells, box[at[keep] % cells]
            kept = batched_nms(box, score, label, OVERLAP)[: self.config.max_detections]
            results.append((box[kept], score[kept], label[kept]))
        return results

    def _boxes(self, distances: Tensor) -> Tensor:
        """Distances ``[b, 4, gh, gw]`` in cells -> x1, y1, x2, y2 in pixels ``[b, gh, gw, 4]``, within the image."""
        height, width = self.image_size
        x1, y1, x2, y2 = self._edges(distances).unbind(-1)
        return torch.stack([x1.clamp(min=0), y1.clamp(min=0), x2.clamp(max=width), y2.clamp(max=height)], dim=-1)

    def _edges(self, distances: Tensor) -> Tensor:
        """As :meth:`_boxes`, wherever they reach."""
        rows, columns = distances.shape[2:]
        y_size, x_size = self.image_size[0] / rows, self.image_size[1] / columns
        y = torch.arange(rows, device=distances.device)[:, None] + 0.5
        x = torch.arange(columns, device=distances.device) + 0.5
        left, up, right, down = distances.unbind(1)
        edges = [(x - left) * x_size, (y - up) * y_size, (x + right) * x_size, (y + down) * y_size]
        return torch.stack(edges, dim=-1)


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised intersection over union (arXiv 1902.09630, algorithm 1) of boxes ``[..., 4]``, ``[...]``.

    torchvision's loss picks the boxes that meet by a mask, and how many those are a GPU has to be waited for.
    """
    inside = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    around = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    intersection = torch.where((inside > 0).all(-1), inside.prod(-1), 0)
    union = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - intersection
    hull = around.prod(-1)
    return intersection / (union + SMALLEST_AREA) - (hull - union) / (hull + SMALLEST_AREA)


def _focal_losses(logits: Tensor, heat: Tensor) -> Tensor:
    """CornerNet's focal loss (arXiv 1808.01244, eq. 1; α = 2, β = 4) of each cell, not yet over the objects."""
    probability = logits.sigmoid()
    centre = -((1 - probability) ** 2) * F.logsigmoid(logits)
    other = -((1 - heat) ** 4) * probability**2 * F.logsigmoid(-logits)
    return torch.where(heat == 1, centre, other)


class BoxTargets(NamedTuple):
    """What is learned about the boxes of a batch.

    Attributes:
        heat: ``[b, classes, gh, gw]``, 1 in the cell of an object's centre and falling off around it, as a Gaussian.
        boxes: the box that each cell learns, x1, y1, x2, y2 in pixels ``[b, gh, gw, 4]``.
        weights: how much it does, ``[b, gh, gw]``; those of an object sum to 1.
        objects: their number, a scalar.
    """

    heat: Tensor
    boxes: Tensor
    weights: Tensor
    objects: Tensor


def box_targets(target: Tensor, grid: tuple[int, int], image_size: tuple[int, int], classes: int) -> BoxTargets:
    """Boxes on a grid.

    The Gaussian of a box of w cells has a standard deviation of (0.54 w + 1) / 6 along x, h likewise, and ends at
    three of them. A cell learns the box whose Gaussian is highest there, of equal ones the smallest, if its centre
    lies in that box; the cell of the box's centre does in any case.

    Args:
        target: ``[b, m, 5]`` of class, x1, y1, x2, y2 in pixels; rows of class -1 or NaN, and boxes without an
            area, are no objects.
        grid: rows and columns.
        image_size: height and width in pixels.
        classes: number of classes.
    """
    rows, columns = grid
    corners = target[..., 1:]
    valid = (target[..., 0] >= 0) & (corners[..., 2:] > corners[..., :2]).all(dim=-1)
    label = torch.where(valid, target[..., 0], 0).long()
    scale = corners.new_tensor([columns / image_size[1], rows / image_size[0]]).repeat(2)
    x1, y1, x2, y2 = torch.where(valid[..., None], corners * scale, 0).unbind(-1)  # in cells
    x = torch.arange(columns, device=target.device)
    y = torch.arange(rows, device=target.device)

    across, in_columns = _bell(x, x1, x2)
    down, in_rows = _bell(y, y1, y2)
    bell = down[..., :, None] * across[..., None, :] * valid[..., None, None]  # [b, m, gh, gw]
    heat = bell.new_zeros(len(target), classes, rows * columns)
    heat.scatter_reduce_(1, label[..., None].expand(-1, -1, rows * columns), bell.flatten(2), "amax")

    inside = (in_rows[..., :, None] & in_columns[..., None, :]) | (bell == 1)
    height = torch.where(inside, bell, 0)
    size = ((x2 - x1) * (y2 - y1) / (rows * columns))[..., None, None]
    best = (height - 1e-4 * size).masked_fill(height == 0, -1).max(dim=1).indices  # [b, gh, gw]
    own = height * (best[:, None] == torch.arange(target.shape[1], device=target.device)[:, None, None])
    total = own.sum(dim=(2, 3), keepdim=True)
    weights = (own / torch.where(total > 0, total, 1)).sum(dim=1)
    boxes = torch.where(valid[..., None], corners, 0)
    picked = boxes.gather(1, best.flatten(1)[..., None].expand(-1, -1, 4)).unflatten(1, grid)
    return BoxTargets(heat.unflatten(2, grid), picked, weights, valid.sum())


def _bell(cells: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Along one axis, for edges ``[b, m]`` in cells: the Gaussian ``[b, m, n]``, and which cell centres are inside."""
    centre = ((start + end) / 2).floor().clamp(0, len(cells) - 1)[..., None]
    sigma = ((SPREAD * (end - start) + 1) / 6)[..., None]
    distance = (cells - centre).abs()
    bell = torch.where(distance <= 3 * sigma, (-(distance**2) / (2 * sigma**2)).exp(), 0)
    middle = cells + 0.5
    return bell, (middle > start[..., None]) & (middle < end[..., None])
