"""One shared backbone, many named heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from torch import Tensor, nn

from hybridvit.backbones.features import Features, frozen_statistics

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
