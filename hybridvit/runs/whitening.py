"""Whitening initialisation: initial values that come from the training images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone
from hybridvit.layers.whitening import whiten_conv
from hybridvit.training.evaluation import evaluation_mode


def whiten(backbone: nn.Module, images: Tensor) -> int:
    """Initialises the convolution that reads a backbone's images as the whitening transform of their windows.

    Args:
        backbone: of one camera.
        images: ``[n, c, h, w]``, normalised as in training, on the backbone's device; see ``whiten_conv``.

    Returns:
        The number of filters that were set.

    Raises:
        ValueError: no convolution reads the images, or one that cannot be a whitening transform.
    """
    if not isinstance(backbone, Backbone):
        raise ValueError(f"a whitening initialisation is for the images of one camera, given {type(backbone).__name__}")
    conv = first_conv(backbone, images[:1])
    owner = type(getattr(backbone, "tokenizer", backbone)).__name__
    if conv is None:
        raise ValueError(f"{owner} has no convolution that reads the images, so there is nothing to whiten")
    try:
        return whiten_conv(conv, images)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from error


def first_conv(backbone: Backbone, image: Tensor) -> nn.Conv2d | None:
    """The first convolution whose input is the image ``[1, c, h, w]`` itself; None where there is none."""
    convs: list[nn.Conv2d] = []

    def record(module: Any, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape == image.shape and torch.equal(inputs[0], image):
            convs.append(module)

    hooks = [m.register_forward_pre_hook(record) for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    try:
        with evaluation_mode(backbone):
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return convs[0] if convs else None
