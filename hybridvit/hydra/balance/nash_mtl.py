"""Nash-MTL: the gradients bargain for their weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hybridvit.hydra.balance.gradients import GradientConfig, Weighting


class NashMTLConfig(GradientConfig):
    """The Nash bargaining solution of the tasks (Navon et al., arXiv 2202.01017, algorithm 1)."""

    kind: Literal["nash_mtl"] = "nash_mtl"

    def weighting(self) -> Weighting:
        return nash_weights


def nash_weights(products: Tensor) -> Tensor:
    """The Nash bargaining solution: Gα = 1/α elementwise (arXiv 2202.01017, §3.1), ``[t, t]`` -> ``[t]``.

    It minimises ½αᵀGα − Σ log α. Damped Newton steps reach the minimum from anywhere, as the function is
    self-concordant. The paper's sequence of convex programs, as in torchjd, starts from the last update's weights;
    where those make a component of Gα negative its solver fails, and it silently keeps them.

    As in the authors' code G has norm 1, and the resulting gradient is at most 1 long.
    """
    ridge = 1e-10 * torch.eye(len(products), dtype=products.dtype)
    scaled = products / products.norm() + ridge
    alpha = scaled.diagonal().rsqrt()
    for _ in range(100):
        slope = scaled @ alpha - 1 / alpha
        step = torch.linalg.solve(scaled + torch.diag(alpha**-2), slope)
        decrement = (slope @ step).clamp(min=0).sqrt()
        alpha = alpha - step / (1 + decrement)
        if decrement < 1e-9:
            break
    return alpha / (alpha @ products @ alpha).clamp(min=1).sqrt()
