"""The gates of gated positional self-attention: how much of each head follows position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hybridvit.layers.gpsa import GPSA


def gates(model: nn.Module) -> NDArray[np.float64]:
    """σ(λ) of every head of every GPSA layer (ConViT, arXiv 2103.10697, fig. 7).

    Args:
        model: any module with :class:`~hybridvit.layers.GPSA` layers.

    Returns:
        ``[layers, heads]`` in the order of the layers; ``[0, 0]`` where there are none. 1 is pure
        position, 0 pure content.
    """
    layers = [module.gates().detach().double().cpu().numpy() for module in model.modules() if isinstance(module, GPSA)]
    return np.stack(layers) if layers else np.zeros((0, 0))
