"""The configuration of several cameras becomes a shared trunk, its stems and the fusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone, FeatureSpec
from hybridvit.backbones.variants import ModelConfig
from hybridvit.data.rig import Rig, bev_cells
from hybridvit.hydra.bev import BEVFusion
from hybridvit.hydra.fusion import AttentionFusion
from hybridvit.hydra.views import Shape, ViewsBackbone
from hybridvit.hydra.views_config import ViewsConfig
from hybridvit.models import create_backbone


def create_views_backbone(
    model: str | ModelConfig, config: ViewsConfig | None, shapes: Mapping[str, Shape], rig: Rig | None = None
) -> ViewsBackbone:
    """A backbone for several cameras, randomly initialised.

    Args:
        model: the trunk: a name or a configuration, as for ``create_backbone``.
        config: how the cameras share the trunk and are fused; None: the defaults.
        shapes: view name -> channels, height and width of its images, as ``Splits.shapes``.
        rig: the geometry of the cameras, for fusion on the ground.

    Raises:
        ValueError: cameras, trunk and rig do not fit together.
    """
    config = config or ViewsConfig()
    if not shapes:
        raise ValueError("a rig needs at least one camera, given none")
    for view in shapes:
        if not view.isidentifier() or hasattr(nn.ModuleDict, view):
            raise ValueError(
                f"a camera's name is made of letters, digits and _ (and not 'keys' or the like), given {view!r}"
            )
    first, (channels, *size) = next(iter(shapes.items()))
    trunk = create_backbone(model, (size[0], size[1]), in_channels=channels)
    stems = None
    if config.stems == "separate":
        stems = _stems(trunk, model, shapes)
        specs = {view: stem.spec for view, stem in stems.items()}
    else:
        for view, shape in shapes.items():
            if shape != shapes[first]:
                raise ValueError(
                    f"cameras {first!r} and {view!r} take images of {_text(shapes[first])} and {_text(shape)}, "
                    f"which cannot share all layers: choose stems separate"
                )
        specs = dict.fromkeys(shapes, trunk.spec)
    return ViewsBackbone(trunk, _fusion(config, specs, shapes, rig), shapes, stems, config.dropout)


def _stems(trunk: Backbone, model: str | ModelConfig, shapes: Mapping[str, Shape]) -> dict[str, Backbone]:
    """A stem for each camera; the trunk is left without its own."""
    if not trunk.stem_parts:
        kind = model if isinstance(model, str) else model.kind
        raise ValueError(f"stems separate needs a vit or a resnet, whose first layers stand apart, given {kind}")
    stems = {}
    for view, (channels, height, width) in shapes.items():
        stem = create_backbone(model, (height, width), in_channels=channels)
        names = dict.fromkeys(name.partition(".")[0] for name, _ in stem.named_parameters())
        _empty(stem, [name for name in names if name not in stem.stem_parts])
        stems[view] = stem
    _empty(trunk, trunk.stem_parts)
    return stems


def _empty(backbone: Backbone, names: list[str] | tuple[str, ...]) -> None:
    """Takes submodules and parameters out of a backbone."""
    for name in names:
        setattr(backbone, name, nn.Identity() if isinstance(getattr(backbone, name), nn.Module) else None)


def _fusion(
    config: ViewsConfig, specs: Mapping[str, FeatureSpec], shapes: Mapping[str, Shape], rig: Rig | None
) -> AttentionFusion | BEVFusion:
    grids = {view: spec.grid for view, spec in specs.items()}
    in_dim = next(iter(specs.values())).embed_dim
    dim, hidden = config.embed_dim, round(config.embed_dim * config.mlp_ratio)
    if config.fusion == "attention":
        return AttentionFusion(grids, in_dim, dim, config.grid, config.num_heads, config.depth, hidden)
    if rig is None:
        raise ValueError("fusion ground needs a rig, the geometry of the cameras, and this data has none")
    rig.check(shapes)

    def tensor(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device="cpu")

    rays = {view: tensor(rig.cameras[view].rays(grid)) for view, grid in grids.items()}
    positions = {view: tensor(rig.cameras[view].position) for view in grids}
    cells = tensor(bev_cells(config.grid, config.extent))
    return BEVFusion(grids, rays, positions, cells, in_dim, dim, config.num_heads, config.depth, hidden)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
