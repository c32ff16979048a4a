"""What every attention of a model attends to, read from the inputs that it really gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

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
        the images these are; all layers of a batch, then the next batch.

    Raises:
        ValueError: the model has no self-attention, or there are no images.
    """
    layers = attentions(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no self-attention over a grid of tokens")
    if not len(images):
        raise ValueError("there is no image to look at")
    inputs: dict[int, tuple[Tensor, Grid]] = {}

    def keep(index: int) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            inputs[index] = given

        return hook

    was_training = model.training
    hooks = [layer.register_forward_pre_hook(keep(index)) for index, layer in enumerate(layers)]
    try:
        model.eval()
        for start in range(0, len(images), batch_size):
            part = slice(start, min(start + batch_size, len(images)))
            model(images[part])
            for index, (x, grid) in sorted(inputs.items()):
                yield index, layers[index].weights(x, grid), grid, part
            inputs.clear()
    finally:
        model.train(was_training)
        for handle in hooks:
            handle.remove()
