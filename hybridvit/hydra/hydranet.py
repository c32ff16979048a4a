"""One shared backbone, many named heads."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from hybridvit.backbones.features import Backbone


class HydraNet(nn.Module):
    """images ``[b, c, h, w]`` -> {task name: prediction}; the backbone runs once for all heads.

    Args:
        backbone: what the heads share.
        heads: task name -> module that reads the backbone's Features.
    """

    def __init__(self, backbone: Backbone, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images)
        return {name: head(features) for name, head in self.heads.items()}
