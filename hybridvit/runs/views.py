"""A model's configuration as something that builds, for the trunk of several cameras."""

from __future__ import annotations

from dataclasses import dataclass

from hybridvit.backbones.features import Backbone
from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.models import create_backbone


@dataclass(frozen=True)
class Trunk:
    """A model's configuration with ``build``."""

    model: ModelConfig

    @property
    def kind(self) -> str:
        """The model's kind."""
        return self.model.kind

    def build(self, image_size: tuple[int, int], in_channels: int) -> Backbone:
        """The model's backbone."""
        return create_backbone(self.model, image_size, in_channels=in_channels)
