"""Muon: momentum whose matrices are orthogonalised, and AdamW for everything that is no hidden matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

MOMENTUM = 0.95
# Of the polynomial p(s) = a·s + b·s³ + c·s⁵, steep at 0; five rounds bring singular values near 1, to 0.7 .. 1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5
SMALLEST_NORM = 1e-7


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest matrices with orthonormal rows (or columns, the shorter side), about: U Vᵀ of their SVD.

    Newton-Schulz iterations (K. Jordan et al., "Muon", 2024; arXiv 2502.16982, eq. 2), in the type of the matrices.

    Args:
        matrices: ``[k, rows, columns]``, all treated at once.

    Returns:
        ``[k, rows, columns]``, singular values about 1 but for those that were nearly 0.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.mT if tall else x


class Muon(Optimizer):
    """Muon (K. Jordan et al., 2024) for groups with ``muon`` true, fused AdamW for those where it is false.

    What ``torch.optim.Muon`` computes, with its learning rate scaled by √max(1, rows / columns) ("original") and its
    decay of lr · weight_decay; here matrices of one shape go through the iterations together, and in bfloat16 on CUDA
    alone: a CPU without units for it takes three times as long as in float32 (measured). A kernel ``[out, in, h, w]``
    is taken as the matrix ``[out, in·h·w]``.

    Args:
        groups: parameters by group, each with ``lr``, ``weight_decay`` and ``muon``; of either kind at least one.
        betas: of AdamW.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        self.betas = betas
        super().__init__(groups, {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """AdamW over the same groups and state, so that both are seen, saved and scheduled in one place."""
        self.adamw = AdamW([group for group in self.param_groups if not group["muon"]], betas=self.betas, fused=True)
        self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter with a gradient; closures are not taken."""
        assert closure is None, "a loss that is evaluated again"
        self.adamw.step()
        by_shape: dict[tuple[torch.Size, torch.device], list[tuple[Tensor, Tensor, float]]] = {}
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None] if group["muon"] else []
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            for p in parameters:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in parameters]
            torch._foreach_lerp_(buffers, gradients, 1 - MOMENTUM)
            updates = torch._foreach_lerp(gradients, buffers, MOMENTUM)  # Nesterov's look ahead
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for p, update in zip(parameters, updates, strict=True):
                by_shape.setdefault((p.shape, p.device), []).append((p, update.flatten(1), group["lr"]))
        for (_, device), members in by_shape.items():
            matrices = torch.stack([update for _, update, _ in members])
            found = orthogonalised(matrices.bfloat16() if device.type == "cuda" else matrices)
            scale = max(1.0, matrices.shape[1] / matrices.shape[2]) ** 0.5
            for (p, _, lr), update in zip(members, found, strict=True):
                p.add_(update.view(p.shape), alpha=-lr * scale)
