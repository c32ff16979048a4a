"""The pixels of an image of which the backbone sees only a part: what self-supervised pre-training asks."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.layers.dense import enlarge
from hybridvit.layers.initialisation import linear
from hybridvit.tasks.base import Objective


class ReconstructionHead(nn.Module):
    """One linear layer from every token to the pixels of its cell (SimMIM, arXiv 2111.09886, §3.3).

    The cells tile the image in equal shares; where the grid does not divide it, they are made of whole pixels and the
    picture is then resized bilinearly.
    """

    def __init__(self, spec: FeatureSpec, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels, height, width = image_shape
        self.size = (height, width)
        self.cell = (-(-height // spec.grid[0]), -(-width // spec.grid[1]))
        self.fc = linear(spec.embed_dim, self.channels * self.cell[0] * self.cell[1])

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, c, h, w]``."""
        sizes = {"gh": features.grid[0], "c": self.channels, "h": self.cell[0], "w": self.cell[1]}
        image = rearrange(self.fc(features.tokens), "b (gh gw) (c h w) -> b c (gh h) (gw w)", **sizes)
        return enlarge(image, self.size)


class ReconstructionTask(Objective):
    """L1 loss of the pixels that were hidden (SimMIM, arXiv 2111.09886, §3.4); the target is NaN elsewhere.

    Args:
        name: key of the predictions.
        image_shape: channels, height and width of the images.
        target: name of the target column, ``[b, c, h, w]``.
    """

    def __init__(self, name: str, image_shape: tuple[int, int, int], target: str = "pixels") -> None:
        super().__init__(name, target)
        self.image_shape = image_shape

    def head(self, spec: FeatureSpec) -> ReconstructionHead:
        return ReconstructionHead(spec, self.image_shape)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction and target ``[b, c, h, w]`` -> scalar."""
        hidden = ~target.isnan()
        errors = torch.where(hidden, prediction.float() - target, 0).abs()
        return errors.sum() / hidden.sum().clamp(min=1)
