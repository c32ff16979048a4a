"""The methods on gradients; but for Nash-MTL, torchjd computes their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hybridvit.config import NonNegativeFloat
from hybridvit.hydra.balance.gradients import GradientConfig, Weighting


class PCGradConfig(GradientConfig):
    """Each task's gradient without what conflicts with the others' (Yu et al., arXiv 2001.06782, algorithm 1)."""

    kind: Literal["pcgrad"] = "pcgrad"

    def weighting(self) -> Weighting:
        return from_torchjd(self.kind, lambda torchjd: torchjd.PCGradWeighting())


class MGDAConfig(GradientConfig):
    """The shortest convex combination of the gradients (Sener and Koltun, arXiv 1810.04650, algorithm 2)."""

    kind: Literal["mgda"] = "mgda"

    def weighting(self) -> Weighting:
        return from_torchjd(self.kind, lambda torchjd: torchjd.MGDAWeighting())


class CAGradConfig(GradientConfig):
    """The best gradient for the worst-off task, near the mean (Liu et al., arXiv 2110.14048, algorithm 1).

    Attributes:
        c: how far from the mean gradient, as a share of its length; 0: the mean.
    """

    kind: Literal["cagrad"] = "cagrad"
    c: NonNegativeFloat = 0.4

    def weighting(self) -> Weighting:
        return from_torchjd(self.kind, lambda torchjd: torchjd.CAGradWeighting(c=self.c))


class NashMTLConfig(GradientConfig):
    """The Nash bargaining solution of the tasks (Navon et al., arXiv 2202.01017, algorithm 1)."""

    kind: Literal["nash_mtl"] = "nash_mtl"

    def weighting(self) -> Weighting:
        return nash_weights


class UPGradConfig(GradientConfig):
    """The mean of the gradients, each moved until it harms no task (Quinton and Rey, arXiv 2406.16232)."""

    kind: Literal["upgrad"] = "upgrad"

    def weighting(self) -> Weighting:
        return from_torchjd(self.kind, lambda torchjd: torchjd.UPGradWeighting())


class AlignedMTLConfig(GradientConfig):
    """The mean of gradients made orthogonal and equally long (Senushkin et al., arXiv 2305.19000, algorithm 1)."""

    kind: Literal["aligned_mtl"] = "aligned_mtl"

    def weighting(self) -> Weighting:
        return from_torchjd(self.kind, lambda torchjd: torchjd.AlignedMTLWeighting())


def from_torchjd(kind: str, choose: Callable[[Any], Weighting]) -> Weighting:
    """The weighting that ``choose`` takes from the module ``torchjd.aggregation``, which is imported here."""
    try:
        from torchjd import aggregation

        solve = choose(aggregation)
    except ImportError as error:
        needs = f"balance {kind} needs torchjd and its solvers"
        raise ValueError(f"{needs}: pip install 'hybridvit[balancing]'") from error
    # None of these weights depends on the gradients' scale, but torchjd takes short gradients for zeros.
    return lambda products: solve(products / products.trace())


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
