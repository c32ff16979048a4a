"""Knowledge distillation: the answers of another network as targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.config import PositiveFloat
from hybridvit.layers.initialisation import linear
from hybridvit.tasks.base import BaseTaskConfig, Metrics, TargetInfo, Task
from hybridvit.tasks.classification import most_probable
from hybridvit.tasks.heads import VectorHead


class DistillationConfig(BaseTaskConfig):
    """Settings of a distillation task; its target column is filled by the teacher.

    Attributes:
        teacher: folder of the run whose network is the teacher.
        task: the classification task of that run whose logits are the target.
        mode: "hard", the teacher's class is the label (DeiT, arXiv 2012.12877, eq. 3), or "soft", its probabilities
            are (arXiv 1503.02531, §2).
        temperature: what both networks' logits are divided by in soft mode.
        target: name of the target column; two teachers need two.
    """

    column: ClassVar[str] = "teacher"
    in_data: ClassVar[bool] = False

    kind: Literal["distillation"] = "distillation"
    teacher: str
    task: str
    mode: Literal["hard", "soft"] = "hard"
    temperature: PositiveFloat = 1.0
    target: str = "teacher"

    def __post_init__(self) -> None:
        if self.mode == "hard" and self.temperature != 1:
            raise ValueError(f"temperature has no effect on mode 'hard', given {self.temperature}: set mode to 'soft'")

    def build(self, name: str, data: TargetInfo) -> DistillationTask:
        return DistillationTask(name, data.names, self)


class DistillationHead(nn.Module):
    """One linear layer of the distillation token (DeiT, arXiv 2012.12877, §4)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc = linear(dim, num_classes)

    def forward(self, features: Features) -> Tensor:
        """Features -> logits ``[b, classes]``."""
        logits: Tensor = self.fc(features.prefix[:, 1])
        return logits


class DistillationTask(Task):
    """Cross entropy with the teacher's class, or T² · KL(teacher ‖ student) at temperature T.

    The target is the teacher's logits ``[b, classes]``; a row with NaN is missing. On a backbone with a distillation
    token the head reads that, else what a classification head reads. Its predictions are the student's answer to
    this task alone: DeiT predicts with the mean of this head and that of the class token, which is left to callers.
    Of mixed images the target is the teacher's answer to the mixture.

    Args:
        name, names, config: as for :class:`Task`; the classes are the teacher's.
        weight: factor on the loss.
    """

    mixable = True
    higher_is_better: Mapping[str, bool] = {"agreement": True}

    def __init__(self, name: str, names: Sequence[str], config: DistillationConfig, weight: float = 1.0) -> None:
        super().__init__(name, names, config)
        self.weight = weight

    def head(self, spec: FeatureSpec) -> nn.Module:
        classes = len(self.names)
        return DistillationHead(spec.embed_dim, classes) if spec.distilled else VectorHead(spec, classes)

    def labelled(self, target: Tensor) -> Tensor:
        return ~target.isnan().any(dim=1)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction and target ``[b, classes]`` logits -> scalar."""
        labelled = self.labelled(target)
        student = torch.where(labelled[:, None], prediction.float(), 0)
        teacher = torch.where(labelled[:, None], target.float(), 0)
        if self.config.mode == "hard":
            losses = F.cross_entropy(student, teacher.argmax(dim=1), reduction="none")
        else:
            t = self.config.temperature
            student, teacher = (student / t).log_softmax(dim=1), (teacher / t).log_softmax(dim=1)
            losses = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1) * t**2
        return self.weight * (torch.where(labelled, losses, 0).sum() / labelled.sum().clamp(min=1))

    def mixed_loss(self, prediction: Tensor, target: Tensor, mix: tuple[Tensor, Tensor]) -> Tensor:
        """The plain loss: the teacher saw the mixed images."""
        return self.loss(prediction, target)

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        """Share of the images where student and teacher name the same class."""
        labelled = self.labelled(target)
        same = prediction[labelled].argmax(dim=1) == target[labelled].argmax(dim=1)
        metric["agreement"].update(same.float())

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """The most probable class and its probability for each row of logits."""
        return most_probable(prediction, self.names)
