"""Any model of timm's as a backbone."""

from __future__ import annotations

import copy
import difflib
import inspect
from typing import Annotated, Any, Literal

import torch
from annotated_types import MinLen
from einops import rearrange
from torch import Tensor, nn

from hybridvit.backbones.features import SOCKETS, Backbone, Features, FeatureSpec, Pooling, tokens_of
from hybridvit.config import Config


class TimmConfig(Config):
    """A model of timm's, by its name there, without pretrained weights.

    Attributes:
        name: as in ``timm.list_models()``; timm itself is in ``pip install 'hybridvit[timm]'``.
    """

    kind: Literal["timm"] = "timm"
    name: Annotated[str, MinLen(1)] = "resnet18"

    def build(self, image_size: tuple[int, int], in_channels: int) -> TimmBackbone:
        """The model for images of this height and width, in pixels, randomly initialised."""
        return TimmBackbone(self, image_size, in_channels)

    def sockets(self) -> dict[str, str]:
        """The choice in each socket, in a few words."""
        return dict.fromkeys(SOCKETS, "timm's") | {"tokenizer": self.name}


class TimmBackbone(Backbone):
    """What a timm model's ``forward_features`` gives, under the backbone contract.

    The model lies in ``model``. Modules that only timm's own classifier goes through, such as ConvNeXt's norm
    after the pooling, are taken out, as no gradient would reach them.

    Args:
        config: what to build.
        image_size: height and width of the images, in pixels.
        in_channels: channels of the images.

    Raises:
        ValueError: timm is missing or has no such model (the nearest names are given), or the model does not
            take such images or gives neither a feature map nor tokens of a grid.
    """

    model: Any  # an nn.Module with timm's methods

    def __init__(self, config: TimmConfig, image_size: tuple[int, int], in_channels: int) -> None:
        super().__init__()
        self.name, self.in_channels = config.name, in_channels
        self.model = _create(config.name, image_size, in_channels)
        self.prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        features, unused = self._try_out(image_size)
        for child in unused:
            setattr(self.model, child, nn.Identity())
        class_token = self.prefix_tokens > 0 and getattr(self.model, "global_pool", None) == "token"
        pooling: Pooling = "cls" if class_token else "mean"
        map_channels = {stride: x.shape[1] for stride, x in features.maps.items()}
        distilled = getattr(self.model, "dist_token", None) is not None
        self.spec = FeatureSpec(
            features.tokens.shape[-1], features.grid, features.prefix.shape[1], pooling, map_channels, distilled
        )

    def forward(self, images: Tensor) -> Features:
        """images ``[b, c, h, w]`` -> :class:`Features` with one map, that of the tokens."""
        self.check_images(images)
        return self._features(self.model.forward_features(images), images)

    def layer_features(self, images: Tensor) -> list[Features]:
        self.check_images(images)
        if not hasattr(self.model, "forward_intermediates"):
            raise TypeError(f"timm's {self.name} does not say what its layers are: it has no forward_intermediates")
        accepted = inspect.signature(self.model.forward_intermediates).parameters
        options: dict[str, Any] = {"intermediates_only": True}
        if not self._has_final_norm() and list(getattr(self.model, "norm", nn.Identity()).parameters()):
            options["norm"] = True
        if self.prefix_tokens and "return_prefix_tokens" in accepted:
            options["return_prefix_tokens"] = True
        layers = []
        for x in self.model.forward_intermediates(images, **options):
            cells, prefix = x if isinstance(x, tuple) else (x, None)
            layer = tokens_of(cells)
            layers.append(layer if prefix is None else layer._replace(prefix=prefix))
        return layers

    def final_norm(self, x: Tensor) -> Tensor:
        """timm's final layer norm; another kind, such as batch norm, belongs to the last layer."""
        normed: Tensor = self.model.norm(x) if self._has_final_norm() else x
        return normed

    def parameter_layers(self) -> list[tuple[str, ...]]:
        if not hasattr(self.model, "group_matcher"):
            return [("model",)]
        from timm.models import group_parameters

        groups = group_parameters(self.model, self.model.group_matcher(coarse=False))
        return [tuple(f"model.{name}" for name in groups[index]) for index in sorted(groups)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As timm's models do it.

        Raises:
            ValueError: the model cannot.
        """
        try:
            self.model.set_grad_checkpointing(enable)
        except (AssertionError, AttributeError) as error:  # timm asserts where a model cannot
            if enable:
                raise ValueError(f"timm's {self.name} has no gradient checkpointing") from error
        super().set_grad_checkpointing(enable)

    def _has_final_norm(self) -> bool:
        return isinstance(getattr(self.model, "norm", None), nn.LayerNorm | nn.RMSNorm)

    def _features(self, x: Any, images: Tensor) -> Features:
        """What ``forward_features`` gives for these images as Features."""
        if not isinstance(x, Tensor) or x.ndim not in (3, 4):
            given = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"timm's {self.name} gives {given}, expected a feature map or tokens")
        height, width = images.shape[-2:]
        if x.ndim == 4:
            cells, prefix = (x.permute(0, 3, 1, 2) if self._channels_last(x) else x), None
        else:
            prefix, tokens = x[:, : self.prefix_tokens], x[:, self.prefix_tokens :]
            grid = _grid(tokens.shape[1], height, width)
            if grid is None:
                raise ValueError(
                    f"timm's {self.name} gives {tokens.shape[1]} tokens, no grid over images of {height}x{width}"
                )
            cells = rearrange(tokens, "b (gh gw) d -> b d gh gw", gh=grid[0])
        features = tokens_of(cells, {height // cells.shape[-2]: cells})
        return features if prefix is None else features._replace(prefix=prefix)

    def _channels_last(self, x: Tensor) -> bool:
        declared = getattr(self.model, "output_fmt", None)
        if declared is not None:
            return str(getattr(declared, "value", declared)).upper() == "NHWC"
        return x.shape[1] != self.model.num_features and x.shape[-1] == self.model.num_features

    def _try_out(self, image_size: tuple[int, int]) -> tuple[Features, list[str]]:
        """Features of one image, shapes without values, and the children of the model that no gradient reaches."""
        model = self.model
        self.model = copy.deepcopy(model).to("meta").eval()
        try:
            with torch.device("meta"):
                images = torch.empty(1, self.in_channels, *image_size)
                features = self.forward(images)
            named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            reached = torch.autograd.grad(features.tokens.sum(), list(named.values()), allow_unused=True)
        except (AssertionError, RuntimeError, TypeError) as error:
            reason = next(iter(str(error).splitlines()), "")
            size = f"{self.in_channels}x{image_size[0]}x{image_size[1]}"
            raise ValueError(f"timm's {self.name} does not take images of {size}: {reason}") from error
        finally:
            self.model = model
        used = {name.partition(".")[0] for name, gradient in zip(named, reached, strict=True) if gradient is not None}
        return features, [
            name
            for name, child in model.named_children()
            if name not in used and any(p.requires_grad for p in child.parameters())
        ]


def _create(name: str, image_size: tuple[int, int], in_channels: int) -> Any:
    """The model without classifier, for this image size where its shape depends on it."""
    try:
        import timm
    except ImportError as error:
        raise ValueError("timm is not installed: pip install 'hybridvit[timm]'") from error
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.0)
        raise ValueError(f"timm has no model {name!r}; nearest: {', '.join(near)}")
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": in_channels}
    try:
        return timm.create_model(name, img_size=image_size, **options)
    except TypeError:  # a convolutional network is of no image size
        return timm.create_model(name, **options)
    except AssertionError as error:
        size = f"{image_size[0]}x{image_size[1]}"
        raise ValueError(f"timm's {name} cannot be built for images of {size}: {error}") from error


def _grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of this many square cells over an image; partial cells at the border count or do not."""
    for side in range(1, max(height, width) + 1):
        for rows, columns in ((-(-height // side), -(-width // side)), (height // side, width // side)):
            if rows * columns == tokens:
                return rows, columns
    return None
