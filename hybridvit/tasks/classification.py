"""One class out of a list for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.config import Fraction
from hybridvit.layers.initialisation import linear
from hybridvit.tasks.base import UNLABELLED, ImageTask, Metrics, TargetInfo
from hybridvit.tasks.heads import HeadPooling, VectorHead, VectorTaskConfig, hidden_layer


class ClassificationConfig(VectorTaskConfig):
    """Settings of a classification task; its classes come from the data.

    Attributes:
        label_smoothing: share of the target spread evenly over all classes (arXiv 1512.00567, §7); other fields as in
            :class:`VectorTaskConfig`.
    """

    column: ClassVar[str] = "class"

    kind: Literal["classification"] = "classification"
    target: str = "label"
    label_smoothing: Fraction = 0.0

    def build(self, name: str, data: TargetInfo) -> ClassificationTask:
        return ClassificationTask(name, data.names, self)


class ClassificationHead(VectorHead):
    """Pools the tokens, then one linear layer.

    A distillation token is read by a second layer, and the logits are the mean of both, as DeiT predicts
    (arXiv 2012.12877, §4); training with a teacher needs :meth:`both`.

    Args:
        spec, pooling: as for :class:`VectorHead`.
        num_classes: number of classes.
        hidden: width of a GELU layer before the last, one for each token that is read; None: no such layer.
    """

    def __init__(
        self, spec: FeatureSpec, num_classes: int, pooling: HeadPooling = "auto", hidden: int | None = None
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, given {num_classes}")
        super().__init__(spec, num_classes, pooling, hidden)
        self.hidden_dist = hidden_layer(spec.embed_dim, hidden if spec.distilled else None)
        self.fc_dist = linear(hidden or spec.embed_dim, num_classes) if spec.distilled else None

    def forward(self, features: Features) -> Tensor:
        """Features -> logits ``[b, classes]``."""
        logits = super().forward(features)
        return logits if self.fc_dist is None else (logits + self.fc_dist(self._distilled(features))) / 2

    def both(self, features: Features) -> tuple[Tensor, Tensor]:
        """Features -> logits of the class token and of the distillation token, ``[b, classes]`` each.

        Raises:
            ValueError: the backbone has no distillation token.
        """
        if self.fc_dist is None:
            raise ValueError("this backbone has no distillation token: choose a distilled one, as deit_tiny_distilled")
        return super().forward(features), self.fc_dist(self._distilled(features))

    def pooled(self, features: Features) -> Tensor:
        """Features -> what the last layer reads, ``[b, d]``; with a distillation token the mean of both tokens."""
        vector: Tensor = self.hidden(self.pool(features.tokens, features.prefix))
        return vector if self.fc_dist is None else (vector + self._distilled(features)) / 2

    def _distilled(self, features: Features) -> Tensor:
        vector: Tensor = self.hidden_dist(features.prefix[:, 1])
        return vector


class Classifier(nn.Module):
    """A backbone with one classification head: images ``[b, c, h, w]`` -> logits ``[b, classes]``."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ClassificationHead(backbone.spec, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def forward_features(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features`."""
        features: Features = self.backbone(images)
        return features

    def forward_head(self, features: Features, pre_logits: bool = False) -> Tensor:
        """Features -> logits ``[b, classes]``, or what the last layer reads ``[b, d]``."""
        return self.head.pooled(features) if pre_logits else self.head(features)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.head.fc.out_features

    def get_classifier(self) -> ClassificationHead:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for other classes, on the same device and in the same dtype; the backbone stays."""
        weight = self.head.fc.weight
        fresh = ClassificationHead(self.backbone.spec, num_classes)
        self.head = fresh.to(weight.device, weight.dtype).train(self.training)

    def get_intermediate_layers(
        self,
        images: Tensor,
        n: int | Sequence[int] = 1,
        *,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = True,
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, Tensor], ...]:
        """What chosen layers of the backbone give; see :meth:`Backbone.get_intermediate_layers`."""
        return self.backbone.get_intermediate_layers(
            images, n, reshape=reshape, return_prefix_tokens=return_prefix_tokens, norm=norm
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the backbone's layers in the backward pass: less memory, more time."""
        self.backbone.set_grad_checkpointing(enable)


class ClassificationTask(ImageTask):
    """Cross entropy and accuracy; the label -1 means unlabelled."""

    higher_is_better: Mapping[str, bool] = {"accuracy": True}

    def head(self, spec: FeatureSpec) -> ClassificationHead:
        return ClassificationHead(spec, len(self.names), self.config.pooling, self.config.hidden)

    def labelled(self, target: Tensor) -> Tensor:
        return target != UNLABELLED

    def losses(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """prediction ``[b, classes]``, target ``[b]`` of class indices or -1 -> ``[b]``, ``[b]``."""
        labelled = self.labelled(target)
        losses = F.cross_entropy(
            torch.where(labelled[:, None], prediction.float(), 0),
            target,
            ignore_index=UNLABELLED,
            label_smoothing=self.config.label_smoothing,
            reduction="none",
        )
        return losses, labelled

    def observe(self, metric: Metrics, prediction: Tensor, target: Tensor) -> None:
        """Top-1 accuracy, in [0, 1]."""
        labelled = self.labelled(target)
        metric["accuracy"].update((prediction[labelled].argmax(dim=-1) == target[labelled]).float())

    def decode(self, prediction: Tensor) -> list[dict[str, Any]]:
        """The most probable class and its probability for each row of logits."""
        return most_probable(prediction, self.names)


def most_probable(logits: Tensor, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The class of the largest of ``[b, classes]`` logits, and its probability."""
    probability, index = logits.float().softmax(dim=-1).max(dim=-1)
    return [
        {"class": class_names[i], "probability": p} for i, p in zip(index.tolist(), probability.tolist(), strict=True)
    ]
