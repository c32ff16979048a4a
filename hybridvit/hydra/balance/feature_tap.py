"""The features between trunk and heads, held so that gradients can be taken at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class FeatureTap:
    """A forward hook that gives the heads aliases of the backbone's features, and holds these aliases.

    Gradients of the heads can then be taken at the features, although one feature may be a view of another.
    """

    def __init__(self) -> None:
        self.features: list[Tensor] = []

    def __call__(self, backbone: nn.Module, inputs: Any, features: Any) -> Any:
        if not torch.is_grad_enabled():
            return features
        self.features = []
        return self._alias(features)

    def __reduce__(self) -> tuple[type[FeatureTap], tuple[()]]:
        return FeatureTap, ()  # a copy of the net holds its own features

    def take(self) -> list[Tensor]:
        """The features of the last forward pass that can have a gradient; each forward pass gives them once."""
        features, self.features = self.features, []
        return features

    def _alias(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.requires_grad:
            self.features.append(value.view_as(value))
            return self.features[-1]
        if isinstance(value, Mapping):
            return {key: self._alias(entry) for key, entry in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_make"):
            return value._make(self._alias(entry) for entry in value)
        return value
