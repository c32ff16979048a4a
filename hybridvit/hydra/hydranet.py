"""One shared backbone, many named heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from hybridvit.backbones.features import Features, FeatureSpec, frozen_statistics

Images = Tensor | Mapping[str, Tensor]


class ViewFeatures(NamedTuple):
    """The features of several cameras.

    Attributes:
        fused: of all cameras that are present.
        views: each camera's own, by name; undefined for samples that lack the camera.
    """

    fused: Features
    views: Mapping[str, Features]


class HydraNet(nn.Module):
    """images or views -> {task name: prediction}; the backbone runs once for all heads.

    Args:
        backbone: shared by the heads: a ``Backbone``, or for several cameras a ``ViewsBackbone``.
        heads: task name -> module that reads Features.
        reads: task name -> the camera whose own features the head reads; heads without an entry read the fused ones.
    """

    def __init__(
        self, backbone: nn.Module, heads: Mapping[str, nn.Module], reads: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        for name in heads:
            _check_name(name)
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.reads = dict(reads or {})

    def forward(self, images: Images, present: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Predictions of all heads.

        Args:
            images: ``[b, c, h, w]``, or view name -> images.
            present: view name -> ``[b]`` bool, for several cameras; None: every given camera is present in all samples.
        """
        return self.read(self.features(images, present))

    def features(self, images: Images, present: Mapping[str, Tensor] | None = None) -> Features | ViewFeatures:
        """The features that the heads read; arguments as for :meth:`forward`."""
        features: Any = self.backbone(images) if isinstance(images, Tensor) else self.backbone(images, present)
        return features

    def read(self, features: Features | ViewFeatures, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Predictions of the named heads (None: all) from the backbone's features."""
        names = self.heads if tasks is None else tasks
        return {name: self.heads[name](self.read_by(name, features)) for name in names}

    def read_by(self, task: str, features: Features | ViewFeatures) -> Features:
        """The features that one head reads."""
        if isinstance(features, Features):
            return features
        return features.views[self.reads[task]] if task in self.reads else features.fused

    def frozen_batch_norm(self) -> AbstractContextManager[None]:
        """For a second forward pass over a batch: batch norms use its statistics and do not count it again."""
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        return frozen_statistics(norms)

    def add_head(self, name: str, head: nn.Module, view: str | None = None) -> None:
        """Adds a head; the other heads and the backbone stay as they are, bit for bit.

        Raises:
            ValueError: there is a head of this name, or the name cannot be a head's.
        """
        _check_name(name)
        if name in self.heads:
            raise ValueError(f"there is a head {name!r} already; the heads are {', '.join(self.heads)}")
        self.heads[name] = head
        if view is not None:
            self.reads[name] = view

    def remove_head(self, name: str) -> nn.Module:
        """Removes a head and returns it.

        Raises:
            ValueError: there is no such head.
        """
        if name not in self.heads:
            raise ValueError(f"there is no head {name!r}; the heads are {', '.join(self.heads)}")
        self.reads.pop(name, None)
        return self.heads.pop(name)


def _check_name(name: str) -> None:
    """Refuses names that a module's attribute cannot have."""
    if not name or "." in name or hasattr(nn.ModuleDict, name):
        raise ValueError(f"a head cannot be called {name!r}: no dots, and no name of a method such as 'keys'")


def split_features(features: Features, counts: Mapping[str, int]) -> dict[str, Features]:
    """Features of the images of several cameras, one camera after the other -> the features of each."""
    sizes = list(counts.values())
    tokens, prefix = features.tokens.split(sizes), features.prefix.split(sizes)
    maps = {stride: x.split(sizes) for stride, x in features.maps.items()}
    return {
        view: Features(tokens[i], prefix[i], features.grid, {stride: parts[i] for stride, parts in maps.items()})
        for i, view in enumerate(counts)
    }


def spread_features(features: Features, rows: Tensor | None, batch: int) -> Features:
    """Features of some of a batch's samples, put in their rows with zeros between; rows None: of all samples."""
    if rows is None:
        return features
    spread: Features = tree_map_only(
        Tensor, lambda x: x.new_zeros(batch, *x.shape[1:]).index_copy(0, rows, x), features
    )
    return spread


def zero_features(spec: FeatureSpec, size: tuple[int, int], batch: int, like: Tensor) -> Features:
    """Zeros in place of a camera's features for images of this size, of the dtype and on the device of ``like``."""
    rows, columns = spec.grid
    last = max(spec.map_channels, default=0)
    maps = {}
    for stride, channels in spec.map_channels.items():
        height, width = spec.grid if stride == last else (-(-size[0] // stride), -(-size[1] // stride))
        maps[stride] = like.new_zeros(batch, channels, height, width)
    tokens = like.new_zeros(batch, rows * columns, spec.embed_dim)
    return Features(tokens, like.new_zeros(batch, spec.prefix_tokens, spec.embed_dim), spec.grid, maps)
