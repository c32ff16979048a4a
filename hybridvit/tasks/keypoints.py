"""Where in the image named points are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from hybridvit.backbones.features import FeatureSpec
from hybridvit.config import OpenFraction
from hybridvit.tasks.base import Metrics, TargetInfo, Task
from hybridvit.tasks.heads import DenseHead, DenseTaskConfig, point_stride


class KeypointsConfig(DenseTaskConfig):
    """Settings of a keypoint task; its points come from the data.

    Attributes:
        stride: of the heat maps, in pixels; None: 4, or the coarsest feature map's where all are finer.
        sigma: standard deviation of the Gaussian around a point that the heat map learns, in cells; below 0.5 it would
            not place points between cells.
        pck_threshold: a point counts as found within this share of the image's longer side; other fields as in
            :class:`DenseTaskConfig`.
    """

    column: ClassVar[str] = "points"

    kind: Literal["keypoints"] = "keypoints"
    sigma: Annotated[float, Interval(ge=0.5)] = 1.0
    pck_threshold: OpenFraction = 0.05

    def build(self, name: str, data: TargetInfo) -> KeypointsTask:
        return KeypointsTask(name, data.names, self, data.pixels(name))


class KeypointsTask(Task):
    """Cross entropy of a heat map over the cells with a Gaussian around the point.

    Predictions ``[b, k, gh, gw]`` are logits; a softmax over all cells of a map says where its point is. The Gaussian
    sums to 1 over the cells, so its logarithm, which the logits learn, is a parabola along rows and columns, and the
    vertex through the largest logit and its neighbours is the point to fractions of a cell (as in arXiv 1910.06278,
    without its blur). Points that are missing are NaN; points outside the image count as missing.
    """

    higher_is_better: Mapping[str, bool] = {"pck": True, "distance": False}

    def head(self, spec: FeatureSpec) -> DenseHead:
        return DenseHead(spec, len(self.names), self.config.width, point_stride(spec, self.config.stride))

    def labelled(self, target: Tensor) -> Tensor:
        return self._known(target).any(dim=1)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction ``[b, k, gh, gw]``, target ``[b, k, 2]`` of x, y in pixels -> mean over the known points."""
        labelled = self._known(target)
        logits = torch.where(labelled[..., None, None], prediction.float(), 0)
        heat = self._gaussian(torch.where(labelled[..., None], target, 0), (logits.shape[2], logits.shape[3]))
        losses = -(heat * logits.flatten(2).log_softmax(dim=2).view_as(logits)).sum(dim=(2, 3))
        return torch.where(labelled, losses, 0).sum() / labelled.sum().clamp(min=1)

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        """Share of the points found within ``pck_threshold`` of the longer side, and mean distance in pixels."""
        labelled = self._known(target)
        distance = (self.coordinates(prediction)[labelled] - target[labelled]).norm(dim=-1)
        metric["pck"].update((distance <= self.config.pck_threshold * max(self.image_size)).float())
        metric["distance"].update(distance)

    def coordinates(self, prediction: Tensor) -> Tensor:
        """Logits ``[b, k, gh, gw]`` -> x, y in pixels ``[b, k, 2]``, within the image."""
        logits = prediction.float()
        height, width = logits.shape[2:]
        row, column = self._peak(logits)
        x = column + _vertex(_row(logits, row), column)
        y = row + _vertex(_row(logits.transpose(2, 3), column), row)
        share = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1).clamp(0, 1)
        return share * share.new_tensor(self.image_size[::-1])

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """x, y in pixels and confidence of each point by name.

        Confidence is the probability mass within three standard deviations of the largest cell: near 1 where
        the map has one peak as sharp as the Gaussian it learned.
        """
        logits = prediction.float()
        height, width = logits.shape[2:]
        row, column = (at[..., None, None] for at in self._peak(logits))
        rows = torch.arange(height, device=logits.device)[:, None]
        columns = torch.arange(width, device=logits.device)
        near = (rows - row) ** 2 + (columns - column) ** 2 <= (3 * self.config.sigma) ** 2
        mass = (logits.flatten(2).softmax(dim=2).view_as(logits) * near).sum(dim=(2, 3)).clamp(max=1)
        answers = torch.cat([self.coordinates(prediction), mass[..., None]], dim=-1).tolist()
        return [
            {name: {"x": x, "y": y, "confidence": p} for name, (x, y, p) in zip(self.names, points, strict=True)}
            for points in answers
        ]

    def _known(self, target: Tensor) -> Tensor:
        """Which points are in the image, ``[b, k]``; NaN is nowhere."""
        return ((target >= 0) & (target <= target.new_tensor(self.image_size[::-1]))).all(dim=-1)

    def _gaussian(self, points: Tensor, grid: tuple[int, int]) -> Tensor:
        """x, y in pixels ``[b, k, 2]`` -> shares of the cells ``[b, k, *grid]``, which sum to 1."""

        def along(at: Tensor, cells: int, side: int) -> Tensor:
            steps = torch.arange(cells, device=at.device) - (at[..., None] * (cells / side) - 0.5)
            return (-(steps**2) / (2 * self.config.sigma**2)).softmax(dim=-1)

        columns = along(points[..., 0], grid[1], self.image_size[1])
        rows = along(points[..., 1], grid[0], self.image_size[0])
        return rows[..., :, None] * columns[..., None, :]

    @staticmethod
    def _peak(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of the largest logit of each map, ``[b, k]``."""
        index = logits.flatten(2).argmax(dim=2)
        return index // logits.shape[3], index % logits.shape[3]


def _row(maps: Tensor, index: Tensor) -> Tensor:
    """The row of this index ``[b, k]`` of each map ``[b, k, h, w]``: ``[b, k, w]``."""
    return maps.gather(2, index[..., None, None].expand(-1, -1, 1, maps.shape[3]))[:, :, 0]


def _vertex(line: Tensor, peak: Tensor) -> Tensor:
    """Where a parabola through the largest of the values ``[b, k, n]`` and its neighbours has its vertex.

    From the peak, in cells, within half a cell. At an end of the line the parabola goes through the last three values.
    """
    if line.shape[-1] < 3:
        return torch.zeros_like(peak, dtype=line.dtype)
    middle = peak.clamp(1, line.shape[-1] - 2)
    before, at, after = (line.gather(2, (middle + step)[..., None])[..., 0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    offset = torch.where(bend < 0, (before - after) / (2 * torch.where(bend < 0, bend, -1)), 0)
    return (middle + offset - peak).clamp(-0.5, 0.5)
