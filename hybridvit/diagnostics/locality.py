"""How far from themselves tokens look."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridvit.diagnostics.record import Grid, attention_matrices, attentions


class Locality(NamedTuple):
    """How far the attention of every layer and head reaches.

    Attributes:
        distance: mean distance to what a token attends to, in patches, ``[layers, heads]``.
        uniform: the same if a token attended to all alike, ``[layers]``.
    """

    distance: NDArray[np.float64]
    uniform: NDArray[np.float64]

    @property
    def relative(self) -> NDArray[np.float64]:
        """The distance as a share of that of uniform attention, ``[layers, heads]``; NaN on a grid of one token."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.distance / self.uniform[:, None]


def attention_distance(model: nn.Module, images: Tensor, renormalise: bool = True, batch_size: int = 32) -> Locality:
    """Non-locality D = (1/n) Σ_ij A_ij ‖δ_ij‖ of each layer and head, mean over the images.

    As in ConViT (arXiv 2103.10697). Times the patch size in pixels it is the attention distance of ViT (arXiv
    2010.11929, fig. 11). Queries and keys that are prefix tokens have no place and are left out.

    Args:
        model: any module with self-attentions.
        images: ``[b, c, h, w]``, normalised as in training, on the model's device.
        renormalise: rows sum to 1 over the grid again once the prefix tokens are out; False: their share is lost, and
            a head that looks at the class token alone seems local.
        batch_size: images at a time.

    Raises:
        ValueError: the model has no self-attention, its layers differ in the number of heads, or there are no images.
    """
    heads = {layer.num_heads for layer in attentions(model)}
    if len(heads) > 1:
        raise ValueError(f"all layers must have the same number of heads, given {sorted(heads)}")
    total: dict[int, Tensor] = {}
    uniform: dict[int, float] = {}
    by_grid: dict[Grid, Tensor] = {}
    for layer, matrix, grid, _ in attention_matrices(model, images, batch_size):
        if grid not in by_grid:
            by_grid[grid] = distances(grid).to(matrix.device)
        far = by_grid[grid]
        prefix = matrix.shape[-1] - len(far)
        inside = matrix[..., prefix:, prefix:].double()
        if renormalise:
            inside = inside / inside.sum(-1, keepdim=True)
        found = (inside * far).sum(-1).mean(-1).sum(0)  # over keys, queries, images
        total[layer] = total[layer] + found if layer in total else found
        uniform[layer] = float(far.mean())
    distance = np.stack([total[layer].cpu().numpy() / len(images) for layer in sorted(total)])
    return Locality(distance, np.array([uniform[layer] for layer in sorted(uniform)]))


def distances(grid: Grid) -> Tensor:
    """‖δ‖ between the cells of a grid, in cells, ``[n, n]`` float64."""
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
