"""What a task is: a head, a loss, metrics and the name of its target column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from hybridvit.backbones.features import FeatureSpec

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

UNLABELLED = -1  # of class targets; NaN of real-valued ones


class Task(ABC):
    """One question asked of every image.

    A sample without a label contributes nothing to loss or metrics.

    Attributes:
        name: key of the task's predictions.
        target: name of its target column.
        view: the camera whose own features the head reads; None: those of all cameras, fused.
        higher_is_better: for each metric. The first is in (-inf, 1], higher is better, and checkpoints are
            selected by its mean over the tasks.
        mixable: whether it can learn from images that are mixed of two (mixup, CutMix).
    """

    mixable: ClassVar[bool] = False

    name: str
    target: str
    view: str | None = None
    higher_is_better: Mapping[str, bool]

    @abstractmethod
    def head(self, spec: FeatureSpec) -> nn.Module:
        """A fresh head that maps Features of this spec to predictions ``[b, ...]``, a tensor."""

    @abstractmethod
    def labelled(self, target: Tensor) -> Tensor:
        """Which samples have a label, bool ``[b]``."""

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
                in [0, 1], as data's ``Mix`` says.

        Raises:
            ValueError: the task is not mixable.
        """
        raise ValueError(f"task {self.name!r} cannot learn from mixed images: leave mixup and CutMix out")

    @abstractmethod
    def metric(self) -> MetricCollection:
        """Fresh metrics, named as in ``higher_is_better``."""

    @abstractmethod
    def observe(self, metric: MetricCollection, prediction: Tensor, target: Tensor) -> None:
        """Adds what is labelled in a batch to the metrics."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """Predictions as something a person reads, one mapping for each image; JSON values, and arrays for masks."""
