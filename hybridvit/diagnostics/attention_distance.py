"""How far from themselves tokens look."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from hybridvit.diagnostics.measure import Measure, Reading
from hybridvit.diagnostics.record import Grid, attention_means, attentions


def attention_distance(model: nn.Module, images: Tensor, renormalise: bool = True, batch_size: int = 32) -> Reading:
    """Non-locality D = (1/n) Σ_ij A_ij ‖δ_ij‖ of each layer and head in patches, mean over the images.

    As in ConViT (arXiv 2103.10697). Times the patch size in pixels it is the attention distance of ViT (arXiv
    2010.11929, fig. 11). Prefix tokens have no position and are left out, as queries and as keys. The reference is
    the distance under uniform attention.

    Args:
        model: any module with self-attentions.
        images: ``[b, c, h, w]``, normalised as in training, on the model's device.
        renormalise: scale each row to sum to 1 over the grid once the prefix tokens are out. False: their share is
            lost, and a head that looks at the class token alone seems local.
        batch_size: images at a time.

    Raises:
        ValueError: the model has no self-attention, its layers differ in the number of heads, or there are no images.
    """

    def mean_distance(matrix: Tensor, grid: Grid) -> tuple[Tensor, float]:
        far = distances(grid).to(matrix.device)
        prefix = matrix.shape[-1] - len(far)
        inside = matrix[..., prefix:, prefix:].double()
        if renormalise:
            inside = inside / inside.sum(-1, keepdim=True)
        return (inside * far).sum(-1).mean(-1), float(far.mean())

    return attention_means(model, images, mean_distance, batch_size)


@lru_cache(maxsize=4)
def distances(grid: Grid) -> Tensor:
    """‖δ‖ between the cells of a grid, in cells, ``[n, n]`` float64."""
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def _in_pixels(backbone: nn.Module, images: Tensor) -> Reading:
    patches = attention_distance(backbone, images)
    assert patches.reference is not None
    if not patches.reference.all():
        raise ValueError("the model sees an image as one token, so there is no distance to measure")
    stride = max(backbone.spec.map_channels)  # type: ignore[union-attr,arg-type]
    return Reading(stride * patches.values, patches.layers, stride * patches.reference)


MEASURE = Measure(
    name="distance",
    title="Attention distance",
    unit="px",
    function=attention_distance,
    compute=_in_pixels,
    applies=lambda model: bool(attentions(model)),
    models="models with self-attention over a grid of tokens",
    reference="uniform",
    digits=1,
    caption="How far from itself a token looks, on average. The dashed line is the distance under uniform attention. "
    "Below it attention is local. A head on the line need not be uniform: its entropy tells.",
    definition="Mean of Σⱼ Aᵢⱼ ‖δᵢⱼ‖ over images and tokens i, without prefix tokens, rows scaled to sum to 1 again "
    "(ConViT, arXiv 2103.10697; ViT, arXiv 2010.11929, fig. 11).",
)
