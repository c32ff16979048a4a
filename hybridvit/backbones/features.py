"""The contract between backbones and heads: what a backbone gives, declared before it has seen an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Pooling = Literal["cls", "mean", "seq"]
SOCKETS = ("tokenizer", "position", "attention", "feedforward", "pooling")


class Features(NamedTuple):
    """What a backbone sees in a batch of images.

    Attributes:
        tokens: patch tokens ``[b, gh·gw, d]``, row by row.
        prefix: class and other prefix tokens ``[b, p, d]``; p may be 0.
        grid: rows and columns (gh, gw) of the tokens; need not be square.
        maps: feature maps ``[b, channels, h / stride, w / stride]`` by stride in pixels, for dense heads.
    """

    tokens: Tensor
    prefix: Tensor
    grid: tuple[int, int]
    maps: Mapping[int, Tensor]


class Embedded(NamedTuple):
    """Images after a backbone's stem.

    Attributes:
        x: tokens ``[b, n, d]``, or a CNN's map ``[b, c, rows, columns]``.
        grid: rows and columns of either.
        maps: feature maps that the stem has made already, as in :class:`Features`.
    """

    x: Tensor
    grid: tuple[int, int]
    maps: Mapping[int, Tensor]


@dataclass(frozen=True)
class FeatureSpec:
    """The shapes of a backbone's :class:`Features`.

    Attributes:
        embed_dim: width d of tokens and prefix.
        grid: rows and columns of the tokens at the image size the backbone was built for.
        prefix_tokens: number p of prefix tokens.
        pooling: how this backbone's tokens are meant to become one vector: the first prefix token, the
            mean of the patch tokens, or their learned weighted mean.
        map_channels: channels of each feature map, by its stride in pixels.
        distilled: whether the second prefix token is a distillation token, with a head of its own.
    """

    embed_dim: int
    grid: tuple[int, int]
    prefix_tokens: int
    pooling: Pooling
    map_channels: Mapping[int, int]
    distilled: bool = False


class Backbone(nn.Module):
    """A module that maps images ``[b, c, h, w]`` to :class:`Features` of the declared ``spec``.

    A backbone is a chain of layers (transformer blocks, stages of a CNN); the methods here are the same for all.

    Attributes:
        stem_parts: the submodules that ``embed`` runs, where ``forward`` is ``encode`` after ``embed``; () if there is
            no such seam.
    """

    spec: FeatureSpec
    in_channels: int
    grad_checkpointing: bool = False
    stem_parts: tuple[str, ...] = ()

    def embed(self, images: Tensor) -> Embedded:
        """images ``[b, c, h, w]`` -> what the first layer after the stem reads."""
        raise TypeError(f"{type(self).__name__} has no stem that stands apart")

    def encode(self, x: Tensor, grid: tuple[int, int], maps: Mapping[int, Tensor]) -> Features:
        """What ``embed`` gives -> :class:`Features`."""
        raise TypeError(f"{type(self).__name__} has no stem that stands apart")

    def layer_features(self, images: Tensor) -> list[Features]:
        """images ``[b, c, h, w]`` -> what every layer gives, first to last, before any final norm; without maps."""
        raise TypeError(f"{type(self).__name__} does not say what its layers are")

    def final_norm(self, x: Tensor) -> Tensor:
        """The norm that ``forward`` puts after the last layer: ``[b, n, d]`` -> the same shape. CNNs have none."""
        return x

    def parameter_layers(self) -> list[tuple[str, ...]]:
        """Names of submodules and parameters, grouped from the images to the features, for layer-wise decay."""
        raise TypeError(f"{type(self).__name__} does not say what its layers are")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute every layer in the backward pass instead of keeping what is inside it: less memory, more time."""
        self.grad_checkpointing = enable

    def run_layer(self, layer: nn.Module, *inputs: Any) -> Tensor:
        """``layer(*inputs)``, checkpointed if that is switched on and a gradient is wanted."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            options: dict[str, Any] = {}
            if norms := [module for module in layer.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]:
                options["context_fn"] = lambda: (nullcontext(), frozen_statistics(norms))
            result: Tensor = checkpoint(layer, *inputs, use_reentrant=False, **options)
            return result
        out: Tensor = layer(*inputs)
        return out

    def get_intermediate_layers(
        self,
        images: Tensor,
        n: int | Sequence[int] = 1,
        *,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = True,
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, Tensor], ...]:
        """What chosen layers give, as in DINO's and timm's models.

        Args:
            images: ``[b, c, h, w]``.
            n: how many of the last layers, or which layers, counted from 0.
            reshape: maps ``[b, d, gh, gw]`` instead of tokens ``[b, gh·gw, d]``.
            return_prefix_tokens: pairs of (tokens, prefix ``[b, p, d]``); p is 0 before a class token enters.
            norm: put every result through the backbone's final norm, where its width is the last layer's.

        Raises:
            ValueError: there are no such layers.
        """
        layers = self.layer_features(images)
        chosen = list(range(len(layers)))[-n:] if isinstance(n, int) and n > 0 else n
        if isinstance(chosen, int) or not all(-len(layers) <= index < len(layers) for index in chosen):
            raise ValueError(f"this backbone has layers 0 .. {len(layers) - 1}, asked for {n}")
        results: list[Any] = []
        for layer in (layers[index] for index in chosen):
            normed = norm and layer.tokens.shape[-1] == self.spec.embed_dim
            tokens = self.final_norm(layer.tokens) if normed else layer.tokens
            prefix = self.final_norm(layer.prefix) if normed else layer.prefix
            shaped = rearrange(tokens, "b (gh gw) d -> b d gh gw", gh=layer.grid[0]) if reshape else tokens
            results.append((shaped, prefix) if return_prefix_tokens else shaped)
        return tuple(results)

    def check_images(self, images: Tensor) -> None:
        """Refuses anything but ``[b, in_channels, h, w]``.

        Raises:
            ValueError: naming the shape that was given.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"expected images [b, {self.in_channels}, h, w], given {list(images.shape)}")


@contextmanager
def frozen_statistics(norms: Sequence[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """Batch norms whose running statistics stay as they are: for a second forward pass over the same batch."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1


def tokens_of(x: Tensor, maps: Mapping[int, Tensor] | None = None) -> Features:
    """A feature map ``[b, d, gh, gw]`` as Features: its cells are the tokens, row by row."""
    tokens = rearrange(x, "b d gh gw -> b (gh gw) d")
    return Features(tokens, tokens[:, :0], (x.shape[-2], x.shape[-1]), maps or {})


def image_size_pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels, from one side of a square or both sides."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be positive, given {image_size}")
    return height, width
