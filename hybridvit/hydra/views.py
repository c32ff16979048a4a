"""A trunk that several cameras share; cameras may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.config import Config, Fraction, PositiveFloat, PositiveInt
from hybridvit.hydra.fusion import AttentionFusion, BEVFusion, Fusion, Rig
from hybridvit.hydra.hydranet import ViewFeatures, split_features, spread_features, zero_features

Shape = tuple[int, int, int]


class TrunkConfig(Protocol):
    """A model's configuration."""

    @property
    def kind(self) -> str: ...
    def build(self, image_size: tuple[int, int], in_channels: int) -> Backbone: ...


class ViewsConfig(Config):
    """A trunk for all cameras and the attention that fuses them.

    Attributes:
        stems: "shared", the whole trunk for all cameras, or "separate", first layers for each camera (a ViT's
            tokenizer and position, a ResNet's first convolution) before shared ones, for cameras that differ in
            channels or size.
        fusion: "attention", learned queries over the tokens of all cameras, or "bev", the cells of a bird's-eye view
            around the vehicle, which look along the cameras' rays and need the geometry of the rig.
        grid: rows and columns of the fused features: of the queries, or of the cells.
        extent: where the bird's-eye view begins and ends along x (forward), then along y (left), in metres.
        embed_dim: width of the fused features.
        num_heads: attention heads of the fusion.
        depth: blocks of cross-attention and MLP.
        mlp_ratio: hidden width of the MLPs, as a multiple of embed_dim.
        dropout: probability that a camera is hidden from the fusion in training; a sample's last one never is.
    """

    renamed: ClassVar[dict[str, str]] = {"fusion=ground": "bev"}

    kind: Literal["views"] = "views"
    stems: Literal["shared", "separate"] = "shared"
    fusion: Literal["attention", "bev"] = "attention"
    grid: tuple[PositiveInt, PositiveInt] = (8, 8)
    extent: tuple[float, float, float, float] = (-8.0, 8.0, -8.0, 8.0)
    embed_dim: PositiveInt = 128
    num_heads: PositiveInt = 4
    depth: PositiveInt = 1
    mlp_ratio: PositiveFloat = 2.0
    dropout: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if self.extent[0] >= self.extent[1] or self.extent[2] >= self.extent[3]:
            raise ValueError(f"extent must be x from and to, y from and to, in metres, given {self.extent}")
        if self.fusion != "bev" and self.extent != ViewsConfig.extent:
            raise ValueError(f"extent {self.extent} has no effect with fusion {self.fusion}")

    def build(self, model: TrunkConfig, shapes: Mapping[str, Shape], rig: Rig | None = None) -> ViewsBackbone:
        """A backbone for several cameras, randomly initialised.

        Args:
            model: the configuration of the trunk.
            shapes: view name -> channels, height and width of its images.
            rig: the geometry of the cameras, for fusion "bev".

        Raises:
            ValueError: cameras, trunk and rig do not fit together.
        """
        if not shapes:
            raise ValueError("a rig needs at least one camera, given none")
        for view in shapes:
            if not view.isidentifier() or hasattr(nn.ModuleDict, view):
                raise ValueError(
                    f"a camera's name is made of letters, digits and _ (and not 'keys' or the like), given {view!r}"
                )
        channels, height, width = next(iter(shapes.values()))
        trunk = model.build((height, width), channels)
        stems = self._stems(trunk, model, shapes)
        specs = {view: stems.get(view, trunk).spec for view in shapes}
        return ViewsBackbone(trunk, self._fusion(specs, shapes, rig), dict(shapes), stems, self.dropout)

    def _stems(self, trunk: Backbone, model: TrunkConfig, shapes: Mapping[str, Shape]) -> dict[str, Backbone]:
        """A stem for each camera, which the trunk then lacks; none where cameras share the whole trunk."""
        first, shape = next(iter(shapes.items()))
        if self.stems == "shared":
            for view, other in shapes.items():
                if other != shape:
                    raise ValueError(
                        f"cameras {first!r} and {view!r} take images of {'x'.join(map(str, shape))} and "
                        f"{'x'.join(map(str, other))}, which cannot share all layers: choose stems separate"
                    )
            return {}
        if not trunk.stem_parts:
            raise ValueError(
                f"stems separate needs a vit or a resnet, whose first layers stand apart, given {model.kind}"
            )
        stems = {}
        for view, (channels, height, width) in shapes.items():
            stem = model.build((height, width), channels)
            names = dict.fromkeys(name.partition(".")[0] for name, _ in stem.named_parameters())
            _remove(stem, [name for name in names if name not in stem.stem_parts])
            stems[view] = stem
        _remove(trunk, trunk.stem_parts)
        return stems

    def _fusion(self, specs: Mapping[str, FeatureSpec], shapes: Mapping[str, Shape], rig: Rig | None) -> Fusion:
        match self.fusion:
            case "attention":
                return AttentionFusion(self, specs)
            case "bev":
                if rig is None:
                    raise ValueError("fusion bev needs a rig, the geometry of the cameras, and this data has none")
                rig.check(shapes)
                return BEVFusion(self, specs, rig)


class ViewsBackbone(nn.Module):
    """Images of several cameras -> each camera's own features, and all of them fused.

    Only images that are present go through the trunk, all cameras in one batch: a missing camera leaves no trace in
    any result, gradient or batch statistic, whatever stands in its place. A call may leave out cameras altogether.

    Args:
        trunk: the layers that all cameras share.
        fusion: maps the tokens of the cameras, and which of them are present, to Features of its ``spec``.
        shapes: view name -> channels, height and width of its images.
        stems: view name -> its first layers, whose output the trunk ``encode``s; empty: the trunk takes images.
        dropout: probability that a camera is hidden from the fusion in training; a sample's last one never is. The
            camera's own features stay, as heads of this camera alone still have a label.
    """

    def __init__(
        self, trunk: Backbone, fusion: Fusion, shapes: dict[str, Shape], stems: dict[str, Backbone], dropout: float
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.stems = nn.ModuleDict(stems)
        self.fusion, self.spec = fusion, fusion.spec
        self.shapes = shapes
        self.view_specs = {view: stems.get(view, trunk).spec for view in shapes}
        self.dropout = dropout
        self.grad_checkpointing = False

    def view_spec(self, view: str) -> FeatureSpec:
        """The shapes of one camera's own features.

        Raises:
            ValueError: there is no such camera.
        """
        self._check_names([view])
        return self.view_specs[view]

    def forward(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> ViewFeatures:
        """Features of the cameras and of all of them together.

        Args:
            images: view name -> ``[b, c, h, w]``; cameras that are not named are missing in every sample.
            present: view name -> ``[b]`` bool, whether the sample has this camera; a camera without an entry (None:
                every camera) is present wherever images of it are given.

        Returns:
            Fused features, and those of every camera, zeros for samples that lack it.

        Raises:
            ValueError: unknown cameras, shapes that do not fit, or a sample without any camera.
        """
        batch = self._check_images(images)
        mask = self._mask(images, present or {}, batch)
        columns = zip(images.items(), mask.unbind(1), strict=True)
        rows = {view: None if c.all() else c.nonzero().flatten().to(x.device) for (view, x), c in columns}
        own = self._own_features(images, rows)
        like = next(iter(own.values())).tokens
        views = {
            view: spread_features(own[view], rows[view], batch)
            if view in own
            else zero_features(self.view_specs[view], shape[1:], batch, like)
            for view, shape in self.shapes.items()
        }
        if self.training and self.dropout:
            mask = drop_views(mask, self.dropout)
        tokens = {view: views[view].tokens for view in own}
        shown = None if mask.all() else {v: mask[:, i].to(like.device) for i, v in enumerate(images) if v in own}
        if self.grad_checkpointing and torch.is_grad_enabled():
            fused: Any = checkpoint(self.fusion, tokens, shown, use_reentrant=False)
        else:
            fused = self.fusion(tokens, shown)
        return ViewFeatures(fused, views)

    def parameter_layers(self) -> list[tuple[str, ...]]:
        """Names of submodules and parameters, grouped from the images to the features; the fusion is the last group."""
        first, *later = [tuple(f"trunk.{name}" for name in group) for group in self.trunk.parameter_layers()]
        return [("stems", *first) if self.stems else first, *later, ("fusion",)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute stems, trunk and fusion in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable
        for backbone in (self.trunk, *self.stems.values()):
            backbone.set_grad_checkpointing(enable)  # type: ignore[operator]

    def _own_features(self, images: Mapping[str, Tensor], rows: Mapping[str, Tensor | None]) -> dict[str, Features]:
        """The trunk's features of the images that are present, without cameras that the whole batch lacks."""
        kept = {view: x if (index := rows[view]) is None else x[index] for view, x in images.items()}
        kept = {view: x for view, x in kept.items() if len(x)}
        counts = {view: len(x) for view, x in kept.items()}
        if not self.stems:
            return split_features(self.trunk(torch.cat(list(kept.values()))), counts)
        embedded = {view: self.stems[view].embed(x) for view, x in kept.items()}  # type: ignore[operator]
        groups: dict[Any, list[str]] = {}  # cameras of equal shapes share a batch from here on
        for view, parts in embedded.items():
            shape = (parts.grid, *(x.shape[1:] for x in (parts.x, *parts.maps.values())))
            groups.setdefault(shape, []).append(view)
        own: dict[str, Features] = {}
        for group in groups.values():
            x, grid, maps = embedded[group[0]]
            if len(group) > 1:
                x = torch.cat([embedded[view].x for view in group])
                maps = {stride: torch.cat([embedded[view].maps[stride] for view in group]) for stride in maps}
            own |= split_features(self.trunk.encode(x, grid, maps), {view: counts[view] for view in group})
        return {view: own[view] for view in kept}

    def _mask(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], batch: int) -> Tensor:
        """Which samples have which of the given cameras, ``[b, views]`` bool; on the CPU, one transfer in all."""
        self._check_names(present)
        for view, values in present.items():
            if values.dtype != torch.bool or values.shape != (batch,):
                raise ValueError(f"present[{view!r}] must be bool [{batch}], given {values.dtype} {list(values.shape)}")
        mask = torch.ones(batch, len(images), dtype=torch.bool)
        if columns := {index: present[view] for index, view in enumerate(images) if view in present}:
            mask[:, list(columns)] = torch.stack(list(columns.values()), dim=1).cpu()
        for index in (~mask.any(dim=1)).nonzero().flatten().tolist():
            raise ValueError(f"sample {index} of the batch has no camera: every sample needs at least one")
        return mask

    def _check_images(self, images: Mapping[str, Tensor]) -> int:
        """The number of samples; refuses images of other shapes."""
        if isinstance(images, Tensor) or not images:
            given = "a tensor" if isinstance(images, Tensor) else "none"
            raise ValueError(f"expected images by camera ({', '.join(self.shapes)}), given {given}")
        self._check_names(images)
        batch = len(next(iter(images.values())))
        for view, x in images.items():
            expected = [batch, *self.shapes[view]]
            if list(x.shape) != expected:
                raise ValueError(f"expected images {expected} of camera {view!r}, given {list(x.shape)}")
        return batch

    def _check_names(self, views: Iterable[str]) -> None:
        for view in views:
            if view not in self.shapes:
                raise ValueError(f"there is no camera {view!r}; the cameras are {', '.join(self.shapes)}")


def drop_views(mask: Tensor, probability: float) -> Tensor:
    """Drops each camera with this probability, but never a sample's last one: ``[b, views]`` bool -> the same.

    Draws from torch's global generator, on the CPU. If all are drawn, one of them stays, each as likely as another.
    """
    draw = torch.rand(mask.shape).masked_fill(~mask, -1.0)
    kept = draw >= probability
    kept |= nn.functional.one_hot(draw.argmax(dim=1), mask.shape[1]).bool()
    return kept & mask


def _remove(backbone: Backbone, names: Iterable[str]) -> None:
    """Takes submodules and parameters out of a backbone."""
    for name in names:
        setattr(backbone, name, nn.Identity() if isinstance(getattr(backbone, name), nn.Module) else None)
