"""Settings of a small CNN that teaches a transformer."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.config import Config, NonNegativeInt, PositiveFloat, PositiveInt


def _resnet20() -> ModelConfig:
    return ResNetConfig(depths=(3, 3, 3), width=16)


class CNNTeacherConfig(Config):
    """A small CNN is trained on the same images first, then a transformer follows it while it learns its own tasks.

    Locality guidance (arXiv 2207.10026). The CNN is gone afterwards, and so is what was needed to follow it.

    Attributes:
        model: the CNN; by default the ResNet-20 for CIFAR (arXiv 1512.03385, §4.2). The paper's is its ResNet-56,
            depths (9, 9, 9).
        steps: number of updates that it is trained for.
        lr: its highest learning rate, by AdamW.
        weight: factor on the losses of following the CNN (the paper's beta), beside the losses of the tasks.
        what: the CNN's feature maps, which the transformer's tokens are compared with; its "logits", which those of the
            classification heads are; or both.
        layers: blocks of the transformer that follow the CNN's stages, one for each stage, counted from 0; (): evenly
            from the first to the last, as in the authors' code: 0, 6 and 11 of 12 for three stages.
    """

    kind: Literal["cnn"] = "cnn"
    model: ModelConfig = field(default_factory=_resnet20)
    steps: PositiveInt = 2000
    lr: PositiveFloat = 2e-3
    weight: PositiveFloat = 2.5
    what: Literal["features", "logits", "both"] = "features"
    layers: tuple[NonNegativeInt, ...] = ()

    def __post_init__(self) -> None:
        if self.layers and self.what == "logits":
            raise ValueError(f"layers {self.layers} has no effect on what 'logits': set what to 'features' or 'both'")
