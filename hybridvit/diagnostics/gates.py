"""The gates of gated positional self-attention: how much of each head follows position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hybridvit.diagnostics.measure import Measure, Reading
from hybridvit.diagnostics.record import attentions
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


def _by_layer(model: nn.Module, images: None = None) -> Reading:
    """The gates in the rows of the GPSA layers, NaN in those of other attentions."""
    layers, values = attentions(model), gates(model)
    rows = np.full((len(layers), values.shape[1]), np.nan)
    rows[[isinstance(layer, GPSA) for layer in layers]] = values
    return Reading(rows, tuple(type(layer).__name__ for layer in layers))


MEASURE = Measure(
    name="gates",
    title="Gates",
    unit="σ(λ)",
    function=gates,
    compute=_by_layer,
    applies=lambda model: any(isinstance(module, GPSA) for module in model.modules()),
    models="models with GPSA layers",
    probe=True,
    top=1.0,
    caption="σ(λ) is the share of attention that follows position; the rest follows content. "
    "A ConViT starts like a convolution, at 0.73. A gate of 0 is plain self-attention.",
    definition="σ is the logistic function, λ is learned for each head (ConViT, arXiv 2103.10697).",
)
