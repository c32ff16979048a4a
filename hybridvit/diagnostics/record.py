"""The attention matrices of a model, computed from the inputs that its layers really get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybridvit.diagnostics.measure import Reading
from hybridvit.layers.attention import Attention

Grid = tuple[int, int]


def attentions(model: nn.Module) -> list[Attention]:
    """The self-attentions over a model's grid of tokens, in the order of its layers."""
    return [module for module in model.modules() if isinstance(module, Attention)]


@torch.no_grad()
def attention_matrices(
    model: nn.Module, images: Tensor, batch_size: int = 32
) -> Iterator[tuple[int, Tensor, Grid, slice]]:
    """Explicit attention matrices, layer by layer, of a model in evaluation mode.

    Args:
        model: any module with self-attentions; its mode is as before afterwards.
        images: ``[b, c, h, w]``, normalised as in training, on the model's device.
        batch_size: images at a time.

    Yields:
        The layer from 0, its matrix ``[b', h, n, n]`` (prefix tokens first), the grid of the other tokens, and which of
        the images these are. All layers of a batch come before the next batch.

    Raises:
        ValueError: the model has no self-attention, or there are no images.
    """
    layers = attentions(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no self-attention over a grid of tokens")
    if not len(images):
        raise ValueError("there is no image to look at")
    inputs: dict[nn.Module, tuple[Tensor, Grid]] = {}

    def keep(module: nn.Module, given: tuple[Any, ...]) -> None:
        inputs[module] = given

    was_training = model.training
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        model.eval()
        for start in range(0, len(images), batch_size):
            batch = slice(start, min(start + batch_size, len(images)))
            model(images[batch])
            for index, layer in enumerate(layers):
                if layer in inputs:
                    yield index, layer.weights(*inputs[layer]), inputs[layer][1], batch
            inputs.clear()
    finally:
        model.train(was_training)
        for handle in hooks:
            handle.remove()


def attention_means(
    model: nn.Module, images: Tensor, read: Callable[[Tensor, Grid], tuple[Tensor, float]], batch_size: int = 32
) -> Reading:
    """The mean over images of a number read from the attention matrix of every layer and head.

    Args:
        model, images, batch_size: as in :func:`attention_matrices`.
        read: matrix ``[b', h, n, n]`` and grid -> value of each image and head ``[b', h]``, and the layer's reference.

    Raises:
        ValueError: the model has no self-attention, its layers differ in the number of heads, or there are no images.
    """
    layers = attentions(model)
    heads = {layer.num_heads for layer in layers}
    if len(heads) > 1:
        raise ValueError(f"all layers must have the same number of heads, given {sorted(heads)}")
    total = np.zeros((len(layers), *heads))
    reference = np.zeros(len(layers))
    for index, matrix, grid, _ in attention_matrices(model, images, batch_size):
        values, reference[index] = read(matrix, grid)
        total[index] += values.sum(0).cpu().numpy()
    return Reading(total / len(images), tuple(type(layer).__name__ for layer in layers), reference)
