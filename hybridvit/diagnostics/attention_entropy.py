"""How widely tokens spread their attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hybridvit.diagnostics.measure import Measure, Reading
from hybridvit.diagnostics.record import Grid, attention_means, attentions


def attention_entropy(model: nn.Module, images: Tensor, batch_size: int = 32) -> Reading:
    """Entropy H = -(1/n) Σ_ij A_ij log A_ij of each layer and head in nats, mean over the images.

    All n tokens count, prefix tokens included, as queries and as keys. exp(H) is the number of tokens that a token
    effectively attends to. The reference is log n, the entropy of uniform attention and the largest possible.

    Args:
        model: any module with self-attentions.
        images: ``[b, c, h, w]``, normalised as in training, on the model's device.
        batch_size: images at a time.

    Returns:
        NaN for layers whose rows are no probabilities: talking heads mix attention after the softmax.

    Raises:
        ValueError: the model has no self-attention, its layers differ in the number of heads, or there are no images.
    """

    def mean_entropy(matrix: Tensor, grid: Grid) -> tuple[Tensor, float]:
        rows = matrix.double()
        entropy = torch.special.entr(rows).sum(-1)
        probabilities = (rows >= 0).all() & ((rows.sum(-1) - 1).abs() < 1e-3).all()
        return entropy.where(probabilities, torch.nan).mean(-1), math.log(matrix.shape[-1])

    return attention_means(model, images, mean_entropy, batch_size)


MEASURE = Measure(
    name="entropy",
    title="Attention entropy",
    unit="nats",
    function=attention_entropy,
    applies=lambda model: bool(attentions(model)),
    models="models with self-attention over a grid of tokens",
    reference="uniform",
    caption="How widely a token spreads its attention. The dashed line is uniform attention over all n tokens, log n, "
    "the largest value possible. exp(entropy) is the number of tokens that a token effectively attends to.",
    definition="Mean of −Σⱼ Aᵢⱼ log Aᵢⱼ over images and tokens i, prefix tokens included.",
)
