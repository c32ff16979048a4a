"""What a task is: a head, a loss, metrics and the name of its target column; and what its configuration builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridvit.backbones.features import FeatureSpec
from hybridvit.config import Config

if TYPE_CHECKING:
    from torchmetrics import MetricCollection as Metrics
else:
    Metrics = Any  # importing torchmetrics takes a second

UNLABELLED = -1  # of class targets; NaN of real-valued ones


@dataclass(frozen=True)
class TargetInfo:
    """What a task is told of its data.

    Attributes:
        names: classes, components or points of the target column.
        image_size: height and width of the images that the head reads, in pixels; None: it reads several cameras.
        mask_size: height and width of the column's masks, in pixels; None: it holds no masks.
        values: the training targets ``[n, ...]``; None: the head's weights are loaded, with all that depends on them.
    """

    names: tuple[str, ...]
    image_size: tuple[int, int] | None = None
    mask_size: tuple[int, int] | None = None
    values: NDArray[Any] | None = None

    def pixels(self, name: str) -> tuple[int, int]:
        """Height and width of the one image that a task finds things in.

        Raises:
            ValueError: the task reads several cameras.
        """
        if self.image_size is None:
            raise ValueError(f"tasks.{name} finds things in an image: name the camera, as in --tasks.{name}.view VIEW")
        return self.image_size


class BaseTaskConfig(Config):
    """What the configurations of all tasks share.

    Attributes:
        target: name of the target column.
        view: the camera whose own features the head reads; None: those of all cameras, fused.
    """

    column: ClassVar[str]  # kind of the target column
    in_data: ClassVar[bool] = True  # whether the column is read from the data; a teacher fills its own

    kind: str
    target: str
    view: str | None = None

    @abstractmethod
    def build(self, name: str, data: TargetInfo) -> Task:
        """The task whose head is called ``name``.

        Raises:
            ValueError: the task needs the pixels of one image and reads several cameras.
        """

    def higher_is_better(self) -> dict[str, bool]:
        """Metric name -> whether more is better; known without data."""
        return dict(self.build("", TargetInfo(("",), (32, 32), (32, 32))).higher_is_better)


class Objective(ABC):
    """One thing to learn of every image.

    A sample without a label contributes nothing.

    Args:
        name: key of the predictions.
        target: name of the target column.
        view: the camera whose own features the head reads; None: those of all cameras, fused.

    Attributes:
        mixable: whether it can be learned from images that are mixed of two (mixup, CutMix).
    """

    mixable: ClassVar[bool] = False

    def __init__(self, name: str, target: str, view: str | None = None) -> None:
        self.name = name
        self.target = target
        self.view = view

    @abstractmethod
    def head(self, spec: FeatureSpec) -> nn.Module:
        """A fresh head that maps Features of this spec to predictions ``[b, ...]``, a tensor."""

    def labelled(self, target: Tensor) -> Tensor:
        """Which samples have a label, bool ``[b]``: those with any entry of ``[b, ...]`` that is not missing."""
        known = ~target.isnan() if target.is_floating_point() else target != UNLABELLED
        return known.flatten(1).any(dim=1)

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss over what is labelled, a scalar; 0 where nothing is.

        What an unlabelled sample predicts has no influence on it, nor on any gradient.
        """

    def mixed_loss(self, prediction: Tensor, target: Tensor, mix: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch of mixed images, a scalar; where nothing is mixed, it equals :meth:`loss`.

        Args:
            prediction: of the mixed images, ``[b, ...]``.
            target: of the images that they started from, ``[b, ...]``.
            mix: whose image was mixed in, ``[b]`` indices into the batch, and the share of the own one, ``[b]``
                in [0, 1], as in ``Mix``.

        Raises:
            ValueError: it is not mixable.
        """
        raise ValueError(f"task {self.name!r} cannot learn from mixed images: leave mixup and CutMix out")


class Task(Objective):
    """One question asked of every image: what it learns is scored, and read by a person.

    Args:
        name: key of the predictions.
        names: classes, components or points, in the order of the target's.
        config: target column, the head's layers and all other settings.
        image_size: height and width in pixels of the images, or of the masks; None: it finds nothing in an image.

    Attributes:
        higher_is_better: for each metric. The first is in (-inf, 1], higher is better, and checkpoints are
            selected by its mean over the tasks.
    """

    higher_is_better: Mapping[str, bool]

    def __init__(
        self, name: str, names: Sequence[str], config: BaseTaskConfig, image_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(name, config.target, config.view)
        self.names = tuple(names)
        self.config: Any = config
        self.image_size: Any = image_size

    def metric(self) -> Metrics:
        """Fresh metrics, named as in ``higher_is_better``: means of what :meth:`observe` gives them."""
        from hybridvit.tasks.metrics import Mean, collection

        return collection(**{name: Mean() for name in self.higher_is_better})

    @abstractmethod
    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        """Adds what is labelled in a batch to the metrics."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """Predictions as something a person reads, one mapping for each image; JSON values, and arrays for masks."""


class ImageTask(Task):
    """A task whose loss is a mean of losses that each belong to one sample."""

    mixable = True

    @abstractmethod
    def losses(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each label, 0 and without a gradient where there is none, and which labels there are.

        Returns:
            float and bool, both ``[b]`` or both ``[b, k]``.
        """

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        losses, labelled = self.losses(prediction, target)
        return losses.sum() / labelled.sum().clamp(min=1)

    def mixed_loss(self, prediction: Tensor, target: Tensor, mix: tuple[Tensor, Tensor]) -> Tensor:
        """Each label is weighted by its image's share of the mixed one (arXiv 1710.09412; 1905.04899, eq. 1).

        For classes this is the cross entropy with the mixed one-hot labels, and for angles, but for a constant, one
        minus the scalar product with the mixed (sin, cos).
        """
        partner, share = mix
        total, weights = prediction.new_zeros((), dtype=torch.float32), share.new_zeros(())
        for labels, part in ((target, share), (target[partner], 1 - share)):
            nothing = torch.nan if labels.is_floating_point() else UNLABELLED
            seen = (part > 0).view(-1, *[1] * (labels.ndim - 1))
            losses, labelled = self.losses(prediction, torch.where(seen, labels, nothing))
            weight = part.view(-1, *[1] * (losses.ndim - 1)) * labelled
            total = total + (weight * losses).sum()
            weights = weights + weight.sum()
        return total / torch.where(weights > 0, weights, 1)
