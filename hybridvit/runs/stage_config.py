"""Settings of the stages before a training: self-supervised pre-training, and a small CNN that teaches."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.config import Config, NonNegativeInt, OpenFraction, PositiveFloat, PositiveInt


class PretrainConfig(Config):
    """The backbone first learns to fill in hidden squares of the training images, without labels.

    Masked image modelling as in SimMIM (arXiv 2111.09886); on small sets it needs no other images than those that are
    learned from afterwards (arXiv 2112.10740). Images are cropped and mirrored as in the training, and nothing else.

    Attributes:
        steps: number of updates; small sets want many (arXiv 2112.10740 trains for thousands of epochs).
        lr: highest learning rate of AdamW.
        batch_size: images in an update; None: as in the training.
        mask_ratio: share of the squares that are hidden.
        mask_size: side of a square in pixels, best a multiple of the backbone's stride: a token that sees part of what
            it should fill in copies it. With images of 192 pixels SimMIM is at its best where hidden pixels are on
            average 10 to 20 pixels from the nearest that is seen (fig. 3b). In images of 32 pixels that are 1.7 to 3.3,
            which squares of 4 give at a ratio of 0.4 (1.8) to 0.75 (3.1), squares of 2 at 0.8 (2.0).
        normalise: every square's pixels are predicted with their own mean and variance taken out (arXiv 2111.06377,
            §4.1), not as they are. That is meant for squares of 16 pixels: in those of 4 it makes the faint noise of a
            smooth one count as much as an edge.
    """

    kind: Literal["masked"] = "masked"
    steps: PositiveInt = 2000
    lr: PositiveFloat = 1e-3
    batch_size: PositiveInt | None = None
    mask_ratio: OpenFraction = 0.5
    mask_size: PositiveInt = 4
    normalise: bool = False


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
