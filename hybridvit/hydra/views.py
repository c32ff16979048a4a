"""A trunk that several cameras share, and what becomes of a camera that is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.hydra.hydranet import ViewFeatures

Shape = tuple[int, int, int]


class ViewsBackbone(nn.Module):
    """Images of several cameras -> each camera's own features, and all of them fused.

    Only images that are there go through the trunk, all cameras in one batch: a missing camera leaves no trace in any
    result, gradient or batch statistic, whatever stands in its place. Cameras may be left out of a call altogether.

    Args:
        trunk: the layers that all cameras share.
        fusion: maps the tokens of the cameras, and which of them are there, to Features of its ``spec``.
        shapes: view name -> channels, height and width of its images.
        stems: view name -> what turns its images into what the trunk ``encode``s; None: the trunk takes images.
        dropout: chance that a camera is hidden from the fusion in training; a sample's last one never is. A camera's
            own features are not touched, as heads of this camera alone still have a label to answer for.
    """

    def __init__(
        self,
        trunk: Backbone,
        fusion: nn.Module,
        shapes: Mapping[str, Shape],
        stems: Mapping[str, Backbone] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.stems = None if stems is None else nn.ModuleDict(stems)
        self.fusion = fusion
        self.shapes = dict(shapes)
        self.dropout = dropout
        self.grad_checkpointing = False

    @property
    def spec(self) -> FeatureSpec:
        """The shapes of the fused features."""
        spec: FeatureSpec = self.fusion.spec  # type: ignore[assignment]
        return spec

    def view_spec(self, view: str) -> FeatureSpec:
        """The shapes of one camera's own features.

        Raises:
            ValueError: there is no such camera.
        """
        self._check_names([view])
        spec: FeatureSpec = self.trunk.spec if self.stems is None else self.stems[view].spec  # type: ignore[assignment]
        return spec

    def forward(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> ViewFeatures:
        """Features of the cameras and of all of them together.

        Args:
            images: view name -> ``[b, c, h, w]``; cameras that are not named are missing in every sample.
            present: view name -> ``[b]`` bool, whether the sample has this camera; one that is not named, or None: it
                is there wherever images of it are given.

        Returns:
            Fused features, and those of every camera, zeros for samples that lack it.

        Raises:
            ValueError: unknown cameras, shapes that do not fit, or a sample without any camera.
        """
        batch = self._check_images(images)
        there = self._there(images, present or {}, batch)
        rows = {}
        for index, view in enumerate(images):
            column = there[:, index]
            rows[view] = None if column.all() else column.nonzero().flatten().to(images[view].device)
        seen = self._views_seen(images, rows)
        some = next(iter(seen.values())).tokens
        views = {
            view: _spread(seen[view], rows[view], batch) if view in seen else self._blank(view, batch, some)
            for view in self.shapes
        }
        if self.training and self.dropout:
            there = drop_views(there, self.dropout)
        tokens = {view: views[view].tokens for view in seen}
        mask = None if there.all() else {v: there[:, i].to(some.device) for i, v in enumerate(images) if v in seen}
        if self.grad_checkpointing and torch.is_grad_enabled():
            fused: Any = checkpoint(self.fusion, tokens, mask, use_reentrant=False)
        else:
            fused = self.fusion(tokens, mask)
        return ViewFeatures(fused, views)

    def parameter_layers(self) -> list[tuple[str, ...]]:
        """Names of submodules and parameters, grouped from the images to the features; the fusion is the last group."""
        first, *later = [tuple(f"trunk.{name}" for name in group) for group in self.trunk.parameter_layers()]
        return [first if self.stems is None else ("stems", *first), *later, ("fusion",)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute stems, trunk and fusion in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable
        for backbone in (self.trunk, *(self.stems.values() if self.stems is not None else ())):
            backbone.set_grad_checkpointing(enable)  # type: ignore[operator]

    def _views_seen(self, images: Mapping[str, Tensor], rows: Mapping[str, Tensor | None]) -> dict[str, Features]:
        """What the trunk makes of the images that are there, without cameras that are missing in the whole batch."""
        kept = {view: x if (index := rows[view]) is None else x[index] for view, x in images.items()}
        kept = {view: x for view, x in kept.items() if len(x)}
        if self.stems is None:
            return _split(self.trunk(torch.cat(list(kept.values()))), {view: len(x) for view, x in kept.items()})
        embedded = {view: self.stems[view].embed(x) for view, x in kept.items()}  # type: ignore[operator]
        alike: dict[Any, list[str]] = {}  # cameras that can share a batch from here on
        for view, parts in embedded.items():
            shape = (parts.grid, *(x.shape[1:] for x in (parts.x, *parts.maps.values())))
            alike.setdefault(shape, []).append(view)
        seen: dict[str, Features] = {}
        for group in alike.values():
            x, grid, maps = (embedded[group[0]].x, embedded[group[0]].grid, embedded[group[0]].maps)
            if len(group) > 1:
                x = torch.cat([embedded[view].x for view in group])
                maps = {stride: torch.cat([embedded[view].maps[stride] for view in group]) for stride in maps}
            seen |= _split(self.trunk.encode(x, grid, maps), {view: len(kept[view]) for view in group})
        return {view: seen[view] for view in kept}

    def _there(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], batch: int) -> Tensor:
        """Which samples have which of the given cameras, ``[b, views]`` bool; on the CPU, one transfer in all."""
        self._check_names(present)
        for view, values in present.items():
            if values.dtype != torch.bool or values.shape != (batch,):
                raise ValueError(f"present[{view!r}] must be bool [{batch}], given {values.dtype} {list(values.shape)}")
        named = [view for view in images if view in present]
        there = torch.ones(batch, len(images), dtype=torch.bool)
        if named:
            columns = [index for index, view in enumerate(images) if view in present]
            there[:, columns] = torch.stack([present[view] for view in named], dim=1).cpu()
        for index in (~there.any(dim=1)).nonzero().flatten().tolist():
            raise ValueError(f"sample {index} of the batch has no camera: every sample needs at least one")
        return there

    def _check_images(self, images: Mapping[str, Tensor]) -> int:
        """The number of samples in a batch that fits."""
        if isinstance(images, Tensor) or not images:
            given = "a tensor" if isinstance(images, Tensor) else "none"
            raise ValueError(f"expected images by camera ({', '.join(self.shapes)}), given {given}")
        self._check_names(images)
        batch = len(next(iter(images.values())))
        for view, x in images.items():
            if tuple(x.shape) != (batch, *self.shapes[view]):
                wanted = [batch, *self.shapes[view]]
                raise ValueError(f"expected images {wanted} of camera {view!r}, given {list(x.shape)}")
        return batch

    def _check_names(self, views: Mapping[str, Tensor] | Sequence[str]) -> None:
        for view in views:
            if view not in self.shapes:
                raise ValueError(f"there is no camera {view!r}; the cameras are {', '.join(self.shapes)}")

    def _blank(self, view: str, batch: int, like: Tensor) -> Features:
        """Zeros in place of a camera's features, of the dtype and on the device of another's."""
        spec, (_, height, width) = self.view_spec(view), self.shapes[view]
        rows, columns = spec.grid
        last = max(spec.map_channels, default=0)
        maps = {}
        for stride, channels in spec.map_channels.items():
            size = spec.grid if stride == last else (-(-height // stride), -(-width // stride))
            maps[stride] = like.new_zeros(batch, channels, *size)
        tokens = like.new_zeros(batch, rows * columns, spec.embed_dim)
        return Features(tokens, like.new_zeros(batch, spec.prefix_tokens, spec.embed_dim), spec.grid, maps)


def drop_views(there: Tensor, chance: float) -> Tensor:
    """Leaves out each camera with this chance, but never a sample's last one: ``[b, views]`` bool -> the same.

    Draws from torch's global generator, on the CPU. If chance takes all, one of them stays, each as likely as another.
    """
    draw = torch.rand(there.shape).masked_fill(~there, -1.0)
    kept = draw >= chance
    kept |= nn.functional.one_hot(draw.argmax(dim=1), there.shape[1]).bool()
    return kept & there


def _split(features: Features, counts: Mapping[str, int]) -> dict[str, Features]:
    """Features of the images of several cameras, one camera after the other -> those of each."""
    sizes = list(counts.values())
    tokens, prefix = features.tokens.split(sizes), features.prefix.split(sizes)
    maps = {stride: x.split(sizes) for stride, x in features.maps.items()}
    return {
        view: Features(tokens[i], prefix[i], features.grid, {stride: parts[i] for stride, parts in maps.items()})
        for i, view in enumerate(counts)
    }


def _spread(features: Features, rows: Tensor | None, batch: int) -> Features:
    """Features of some of a batch's samples, put in their rows with zeros between; None: of all samples."""
    if rows is None:
        return features

    def spread(x: Tensor) -> Tensor:
        return x.new_zeros(batch, *x.shape[1:]).index_copy(0, rows, x)

    maps = {stride: spread(x) for stride, x in features.maps.items()}
    return Features(spread(features.tokens), spread(features.prefix), features.grid, maps)
