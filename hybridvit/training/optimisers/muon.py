"""Muon: momentum whose matrices are orthogonalised, and AdamW for everything that is no hidden matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from hybridvit.config import Fraction, PositiveFloat
from hybridvit.training.optimisers.base import OptimiserConfig, backbone_of

MOMENTUM = 0.95
# Of the polynomial p(s) = a·s + b·s³ + c·s⁵, steep at 0; five rounds bring singular values near 1, to 0.7 .. 1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5
SMALLEST_NORM = 1e-7


class MuonConfig(OptimiserConfig):
    """Orthogonalised momentum of 0.95 for the weight matrices and kernels of the backbone but the first, and AdamW for
    all other parameters.

    Attributes:
        lr: highest learning rate of what AdamW updates; other shared fields as in :class:`OptimiserConfig`.
        muon_lr: highest learning rate of what Muon updates: the spectral norm of an update is about
            muon_lr · √max(1, rows / columns).
        beta1: decay of the gradient's running mean in AdamW.
        beta2: decay of the squared gradient's running mean in AdamW.
    """

    kind: Literal["muon"] = "muon"
    muon_lr: PositiveFloat = 0.02
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999

    def build(self, model: nn.Module) -> Muon:
        """The optimiser of a model.

        Raises:
            ValueError: the model has no backbone, or the backbone no hidden matrix.
        """
        groups = self.groups(model, hidden_matrices(model))
        for group in groups:
            if group["muon"]:
                group["lr"] = self.muon_lr * group["lr_scale"]
        return Muon(groups, (self.beta1, self.beta2))

    def method(self) -> str:
        return f"Muon at {self.muon_lr:g} for matrices and kernels, AdamW for the rest"


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights of linear maps and convolutions in the backbone but the first, which reads the images.

    Depthwise and other grouped kernels are left out too: their rows are no map of one space.

    Args:
        model: a backbone, or a module that holds one as ``backbone``.

    Raises:
        ValueError: none of them is trained.
    """
    backbone, path = backbone_of(model, "kind 'muon'")
    maps = [(name, m) for name, m in backbone.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    grouped = {name for name, m in maps if isinstance(m, nn.Conv2d) and m.groups > 1}
    names = {f"{path}{name}.weight" for name, m in maps[1:] if m.weight.requires_grad and name not in grouped}
    if not names:
        raise ValueError(f"kind 'muon' finds no trained matrix behind the first of {type(backbone).__name__}")
    return names


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The nearest matrices with orthonormal rows (or columns, the shorter side), about: U Vᵀ of their SVD.

    Newton-Schulz iterations (K. Jordan et al., "Muon", 2024; arXiv 2502.16982, eq. 2), in bfloat16 on CUDA, else in the
    type of the matrices.

    Args:
        matrices: ``[rows, columns]`` each.

    Returns:
        As many, of the same shapes; singular values about 1 but for those that were nearly 0.
    """
    wide = [matrix.mT if _is_tall(matrix) else matrix for matrix in matrices]
    alike: dict[tuple[Any, ...], list[int]] = {}
    for index, x in enumerate(wide):
        alike.setdefault((x.device, *(x.shape if x.is_cuda else x.shape[:1])), []).append(index)
    results = list(wide)
    for members in alike.values():
        rounds = _rounds if wide[members[0]].is_cuda else _rounds_on_grams
        for index, x in zip(members, rounds([wide[index] for index in members]), strict=True):
            results[index] = x.mT if _is_tall(matrices[index]) else x
    return results


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _rounds(matrices: list[Tensor]) -> Iterable[Tensor]:
    """x <- a·x + b·(x xᵀ)x + c·(x xᵀ)²x for matrices of one shape, in bfloat16."""
    x = torch.stack(matrices).bfloat16()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.unbind()


def _rounds_on_grams(matrices: list[Tensor]) -> Iterable[Tensor]:
    """The same for matrices of one number of rows, whatever their columns.

    A round is x <- p x with p = a + b·g + c·g² of g = x xᵀ, and takes g to p g p. So all rounds can be made on the
    small g, and their product is applied once. Every digit lost in g grows by up to a² a round: too much for bfloat16.
    """
    gram = torch.stack([x @ x.mT for x in matrices])
    scale = gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt().clamp(min=SMALLEST_NORM).reciprocal()[:, None, None]
    gram = gram * scale.square()
    product = None
    for done in range(1, ROUNDS + 1):
        p = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        p.diagonal(dim1=-2, dim2=-1).add_(A)
        product = p if product is None else product @ p
        if done < ROUNDS:
            gram = gram @ p @ p
    assert product is not None
    return (whole @ x for whole, x in zip(product * scale, matrices, strict=True))


class Muon(Optimizer):
    """Muon (K. Jordan et al., 2024) for groups with ``muon`` true, fused AdamW for those where it is false.

    What ``torch.optim.Muon`` computes, with its learning rate scaled by √max(1, rows / columns) ("original") and its
    decay of lr · weight_decay; here matrices go through the iterations together, and in bfloat16 on CUDA alone: a CPU
    without units for it takes three times as long as in float32 (measured). A kernel ``[out, in, h, w]`` is taken as
    the matrix ``[out, in·h·w]``.

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
        updates: list[Tensor] = []
        updated: list[tuple[Tensor, float]] = []
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
            updates += torch._foreach_lerp(gradients, buffers, MOMENTUM)  # Nesterov's look ahead
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            updated += [(p, group["lr"]) for p in parameters]
        directions = orthogonalised([update.flatten(1) for update in updates])
        for (p, lr), update in zip(updated, directions, strict=True):
            rows, columns = update.shape
            p.add_(update.view(p.shape), alpha=-lr * max(1.0, rows / columns) ** 0.5)
