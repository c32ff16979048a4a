"""Real numbers, or angles, for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.base import ImageTask, Metrics, TargetInfo
from hybridvit.tasks.heads import HeadPooling, VectorHead, VectorTaskConfig

TURN = {"degrees": 360.0, "radians": 2 * math.pi}
SHORT = 1e-6  # added to the squared length of (sin, cos): no infinite slope where both are 0


class RegressionConfig(VectorTaskConfig):
    """Settings of a regression task; its components come from the data.

    Attributes:
        angle: "none", plain numbers; else every component is an angle in this unit, which any whole turn leaves alone;
            other fields as in :class:`VectorTaskConfig`.
    """

    column: ClassVar[str] = "numbers"

    kind: Literal["regression"] = "regression"
    angle: Literal["none", "degrees", "radians"] = "none"

    def build(self, name: str, data: TargetInfo) -> RegressionTask:
        if data.values is None or self.angle != "none":
            return RegressionTask(name, data.names, self)
        return RegressionTask(name, data.names, self, *mean_and_std(data.values))


class ScaledHead(VectorHead):
    """A vector head that learns standardised numbers and answers in the user's units: std · output + mean."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, spec: FeatureSpec, mean: Sequence[float], std: Sequence[float], pooling: HeadPooling, hidden: int | None
    ) -> None:
        super().__init__(spec, len(mean), pooling, hidden)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, components]``; in half precision only the layers are."""
        return super().forward(features) * self.std + self.mean


class RegressionTask(ImageTask):
    """Smooth L1 of standardised numbers, or 1 - cos of an angle's error; single components may be missing, NaN.

    Plain numbers are predicted in their own units, ``[b, k]``, by a head that holds mean and standard deviation;
    the loss divides by the latter, so that it is quadratic for errors below one standard deviation and any unit
    learns alike. Angles are predicted as pairs (sin, cos), ``[b, 2 k]``, of which only the direction counts.

    Args:
        name, component_names, config: as for :class:`Task`.
        mean: of each component over the training labels; None: 0. Not for angles.
        std: standard deviation likewise; None: 1, and 0 counts as 1. Not for angles.

    Raises:
        ValueError: mean or std that does not fit the components, or that angles would not use.
    """

    def __init__(
        self,
        name: str,
        component_names: Sequence[str],
        config: RegressionConfig,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(name, component_names, config)
        self.is_angle = config.angle != "none"
        self.turn = TURN.get(config.angle, math.nan)
        if self.is_angle and not (mean is None and std is None):
            raise ValueError(f"task {name!r} is about angles, which are not standardised: leave mean and std out")
        self.mean = self._of_components("mean", mean, 0.0)
        self.std = tuple(value or 1.0 for value in self._of_components("std", std, 1.0))
        if min(self.std) < 0:
            raise ValueError(f"std must not be negative, given {self.std}")
        self.higher_is_better = {"cosine" if self.is_angle else "r2": True, "mae": False}

    def head(self, spec: FeatureSpec) -> VectorHead:
        pooling, hidden = self.config.pooling, self.config.hidden
        if self.is_angle:
            return VectorHead(spec, 2 * len(self.names), pooling, hidden)
        return ScaledHead(spec, self.mean, self.std, pooling, hidden)

    def losses(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """prediction ``[b, k]``, of angles ``[b, 2 k]``, target ``[b, k]`` -> ``[b, k]`` twice."""
        labelled = ~target.isnan()
        target = torch.where(labelled, target, 0)
        if self.is_angle:
            pairs = torch.where(labelled[..., None], prediction.float().unflatten(1, (-1, 2)), 0)
            unit = pairs / (pairs.square().sum(-1, keepdim=True) + SHORT).sqrt()
            radians = target * (2 * math.pi / self.turn)
            losses = 1 - unit[..., 0] * radians.sin() - unit[..., 1] * radians.cos()
        else:
            error = torch.where(labelled, prediction.float() - target, 0)
            losses = F.smooth_l1_loss(error / error.new_tensor(self.std), torch.zeros_like(error), reduction="none")
        return torch.where(labelled, losses, 0), labelled

    def metric(self) -> Metrics:
        """Plain numbers: R² and mean absolute error in their units; angles: mean cosine of the error, and its size.

        Each is taken over a component's known labels, then averaged over the components; a component whose labels
        are all the same has no R².
        """
        from hybridvit.tasks.metrics import R2, ComponentMean, collection

        mae = ComponentMean(len(self.names))
        if self.is_angle:
            return collection(cosine=ComponentMean(len(self.names)), mae=mae)
        return collection(r2=R2(self.mean), mae=mae)

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        if self.is_angle:
            error = torch.remainder(self._angles(prediction) - target + self.turn / 2, self.turn) - self.turn / 2
            metric["cosine"].update((error * (2 * math.pi / self.turn)).cos())
        else:
            error = prediction.float() - target
            metric["r2"].update(prediction, target)
        metric["mae"].update(error.abs())

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """The value of each component by name; angles within half a turn of 0."""
        values = self._angles(prediction) if self.is_angle else prediction.float()
        return [dict(zip(self.names, row, strict=True)) for row in values.tolist()]

    def _angles(self, prediction: Tensor) -> Tensor:
        """``[b, 2 k]`` -> angles ``[b, k]`` in their unit."""
        sin, cos = prediction.float().unflatten(1, (-1, 2)).unbind(-1)
        return torch.atan2(sin, cos) * (self.turn / (2 * math.pi))

    def _of_components(self, what: str, values: Sequence[float] | None, default: float) -> tuple[float, ...]:
        numbers = tuple(float(v) for v in values) if values is not None else (default,) * len(self.names)
        if len(numbers) != len(self.names) or not all(map(math.isfinite, numbers)):
            names = ", ".join(self.names)
            raise ValueError(
                f"{what} of task {self.name!r} must be a finite number for each of {names}, given {numbers}"
            )
        return numbers


def mean_and_std(values: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each component of ``[n, k]`` over its labels, those that are not NaN; without contrast the latter is 1."""
    values = values.astype(np.float64)
    labelled = ~np.isnan(values)
    count = np.maximum(labelled.sum(axis=0), 1)
    mean = np.where(labelled, values, 0).sum(axis=0) / count
    std = np.sqrt(np.where(labelled, (values - mean) ** 2, 0).sum(axis=0) / count)
    return tuple(mean.tolist()), tuple(np.where(std > 1e-12, std, 1.0).tolist())
