"""How several cameras share a trunk and become one, as a choice of fields."""

from __future__ import annotations

from typing import Literal

from hybridvit.config import Config


class ViewsConfig(Config):
    """A trunk for all cameras and the attention that fuses them.

    Attributes:
        stems: "shared", the whole trunk for all cameras, or "separate", each camera its own first layers (a ViT's
            tokenizer and position, a ResNet's first convolution) before shared ones, for cameras that differ in
            channels or size.
        fusion: "attention", learned queries over the tokens of all cameras, or "ground", cells on the ground
            around the vehicle that look along the cameras' rays, which needs the geometry of the rig.
        grid: rows and columns of the fused features: of the queries, or of the cells on the ground.
        extent: where the cells on the ground begin and end along x (forward), then along y (left), in metres.
        embed_dim: width of the fused features.
        num_heads: attention heads of the fusion.
        depth: blocks of cross-attention and MLP.
        mlp_ratio: hidden width of the MLPs, as a multiple of embed_dim.
        dropout: chance that a camera is hidden from the fusion in training; a sample's last one never is.
    """

    kind: Literal["views"] = "views"
    stems: Literal["shared", "separate"] = "shared"
    fusion: Literal["attention", "ground"] = "attention"
    grid: tuple[int, int] = (8, 8)
    extent: tuple[float, float, float, float] = (-8.0, 8.0, -8.0, 8.0)
    embed_dim: int = 128
    num_heads: int = 4
    depth: int = 1
    mlp_ratio: float = 2.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("stems", ("shared", "separate")), ("fusion", ("attention", "ground"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, given {getattr(self, name)!r}")
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid must be rows and columns, at least 1 each, given {self.grid}")
        for name in ("embed_dim", "num_heads", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, given {getattr(self, name)}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if self.mlp_ratio <= 0:
            raise ValueError(f"mlp_ratio must be positive, given {self.mlp_ratio}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), given {self.dropout}")
        self._check_extent()

    def _check_extent(self) -> None:
        if len(self.extent) != 4 or self.extent[0] >= self.extent[1] or self.extent[2] >= self.extent[3]:
            raise ValueError(f"extent must be x from and to, y from and to, in metres, given {self.extent}")
        if self.fusion != "ground" and self.extent != ViewsConfig.extent:
            raise ValueError(f"extent {self.extent} has no effect with fusion {self.fusion}")
