"""Balancing methods that compare the tasks' gradients; but for Nash-MTL, torchjd decides what follows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.hydra.balance.base import Balance, Losses
from hybridvit.hydra.balance.config import (
    AlignedMTLConfig,
    CAGradConfig,
    GradientConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
)
from hybridvit.hydra.balance.trunk_gradients import Gradients, gramian
from hybridvit.hydra.hydranet import HydraNet

Weighting = Callable[[Tensor], Tensor]  # inner products of the gradients [t, t] -> weights [t], float64 on the CPU


class FeatureTap:
    """A forward hook that gives the heads aliases of the backbone's features, and holds on to these.

    The heads' gradients can so be taken at the features although one feature may be a view of another.
    """

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, backbone: nn.Module, inputs: Any, features: Any) -> Any:
        if not torch.is_grad_enabled():
            return features
        self.seen = []
        return self._alias(features)

    def __reduce__(self) -> tuple[type[FeatureTap], tuple[()]]:
        return FeatureTap, ()  # a copy of the net sees features of its own

    def take(self) -> list[Tensor]:
        """The features of the last forward pass that can have a gradient, once."""
        seen, self.seen = self.seen, []
        return seen

    def _alias(self, found: Any) -> Any:
        if isinstance(found, Tensor) and found.requires_grad:
            self.seen.append(found.view_as(found))
            return self.seen[-1]
        if isinstance(found, Mapping):
            return {key: self._alias(value) for key, value in found.items()}
        if isinstance(found, tuple) and hasattr(found, "_make"):
            return found._make(self._alias(value) for value in found)
        return found


class GradientBalance(Balance):
    """A weighted sum of the tasks' gradients in the trunk, whose weights depend on the angles between them.

    The weights of every method here follow from the t·t inner products of the gradients, so no gradient is ever
    copied into one matrix. Each head gets its own plain gradient. Where no weights are found (a solver fails, a
    gradient is not finite) that update is a plain sum.

    Backward passes run one after the other: all of them in one batched vector-Jacobian product
    (``is_grads_batched``) took 1.15 to 1.6 times as long on the CPU, where matrix products take most of the time
    and a batch of them is no faster.

    Args:
        tasks: names of the tasks.
        config: the method, and where and how often gradients are compared.
        tap: what sees the features, for ``at="features"``.

    Raises:
        ValueError: a package that the method needs is missing.
    """

    def __init__(self, tasks: Sequence[str], config: GradientConfig, tap: FeatureTap | None = None) -> None:
        super().__init__(tasks)
        assert (tap is not None) == (config.at == "features")
        self.config, self.tap = config, tap
        self._warned = False
        self._weighting = _weighting(config)
        if config.every > 1:  # the weights of the last comparison, NaN of who was absent, and the updates since
            self.memory["weight"] = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
            self.memory["age"] = torch.zeros(len(tasks))

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        there = torch.stack([present[name] for name in self.tasks]).tolist()
        names = [name for name, is_there in zip(self.tasks, there, strict=True) if is_there]
        targets = self._targets(net)
        if len(names) < 2:
            for name in names:
                backward(losses[name])
                self._use(names, torch.ones(1, dtype=torch.float64))
        elif (weights := self._known(names)) is not None:
            self._reuse(weights, names, losses, net, targets)
        else:
            self._compare(names, losses, net, targets)
        return torch.stack([losses[name].detach() for name in self.tasks]).where(_mask(there, losses), 0).sum()

    def _targets(self, net: HydraNet) -> Sequence[Tensor]:
        """Where gradients are compared."""
        trained = [p for p in net.backbone.parameters() if p.requires_grad]
        targets = trained if self.tap is None else self.tap.take()
        if not targets:
            raise ValueError(f"balance {self.config.kind} has no effect: nothing in the trunk is trained")
        return targets

    def _compare(self, names: Sequence[str], losses: Losses, net: HydraNet, targets: Sequence[Tensor]) -> None:
        """One backward pass for each task, and their weighted sum."""
        rows: list[Gradients] = []
        for index, name in enumerate(names):
            own = _own(net, name)
            again = self.tap is not None or index + 1 < len(names)
            found = torch.autograd.grad(losses[name], [*targets, *own], retain_graph=again, allow_unused=True)
            rows.append(found[: len(targets)])
            _accumulate(own, _combine([found[len(targets) :]], [1.0], own))
        weights = self._solve_or_sum(gramian(rows))
        self._use(names, weights)
        combined = _combine(rows, weights.tolist(), targets)
        if self.tap is None:
            _accumulate(targets, combined)
        else:
            reached = [(target, g) for target, g in zip(targets, combined, strict=True) if g is not None]
            torch.autograd.backward([target for target, _ in reached], [g for _, g in reached])

    def _reuse(
        self, weights: Tensor, names: Sequence[str], losses: Losses, net: HydraNet, targets: Sequence[Tensor]
    ) -> None:
        """One backward pass through the trunk, with known weights."""
        for name in names:
            if own := _own(net, name):
                losses[name].backward(inputs=own, retain_graph=True)
        total = torch.stack([weight * losses[name] for weight, name in zip(weights.tolist(), names, strict=True)]).sum()
        total.backward(inputs=targets)
        self.memory["age"] += 1
        self._show(names, weights)

    def _known(self, names: Sequence[str]) -> Tensor | None:
        """The last weights, if they are those of the same tasks and still young enough."""
        if self.config.every == 1:
            return None
        index = self._index(names)
        known = ~self.memory["weight"].isnan()
        same = int(known.sum()) == len(names) and bool(known[index].all())
        return self.memory["weight"][index] if same and self.memory["age"][0] + 1 < self.config.every else None

    def _use(self, names: Sequence[str], weights: Tensor) -> None:
        self._show(names, weights)
        if self.config.every > 1:
            self.memory["weight"] = self.memory["weight"].new_full((len(self.tasks),), torch.nan)
            self.memory["weight"][self._index(names)] = weights
            self.memory["age"] = torch.zeros(len(self.tasks))

    def _show(self, names: Sequence[str], weights: Tensor) -> None:
        """For the log."""
        used = torch.full((len(self.tasks),), torch.nan, dtype=torch.float64) if self._used is None else self._used
        used[self._index(names)] = weights
        self._used = used

    def _index(self, names: Sequence[str]) -> list[int]:
        return [self.tasks.index(name) for name in names]

    def _solve_or_sum(self, products: Tensor) -> Tensor:
        equal = torch.ones(len(products), dtype=torch.float64)
        if not products.isfinite().all():
            fault = "a gradient is not finite"
        elif products.trace() == 0:
            return equal
        else:
            try:
                weights = self._weighting(products)
            except Exception as error:  # the solvers behind torchjd raise errors of many kinds
                fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
            else:
                if weights.isfinite().all():
                    return weights
                fault = "its weights are not finite"
        if not self._warned:
            warnings.warn(f"balance {self.config.kind}: {fault}; a plain sum for this update", stacklevel=4)
            self._warned = True
        return equal


def nash_weights(products: Tensor) -> Tensor:
    """The Nash bargaining solution: Gα = 1/α elementwise (arXiv 2202.01017, §3.1), ``[t, t]`` -> ``[t]``.

    It is where ½αᵀGα − Σ log α is least, which damped Newton steps reach from anywhere, as that function is
    self-concordant. The paper's sequence of convex programs, as in torchjd, starts from the last update's weights;
    where those make a component of Gα negative its solver fails, and it silently keeps them.

    As in the authors' code G has norm 1, and the gradient that results is at most 1 long.
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


def _weighting(config: GradientConfig) -> Weighting:
    if isinstance(config, NashMTLConfig):
        return nash_weights
    try:
        from torchjd import aggregation

        if isinstance(config, PCGradConfig):
            found: Any = aggregation.PCGradWeighting()
        elif isinstance(config, MGDAConfig):
            found = aggregation.MGDAWeighting()
        elif isinstance(config, CAGradConfig):
            found = aggregation.CAGradWeighting(c=config.c)
        elif isinstance(config, AlignedMTLConfig):
            found = aggregation.AlignedMTLWeighting()
        else:
            found = aggregation.UPGradWeighting()
    except ImportError as error:
        needs = f"balance {config.kind} needs torchjd and its solvers"
        raise ValueError(f"{needs}: pip install 'hybridvit[balancing]'") from error
    # None of these weights depends on the gradients' scale, but torchjd takes short gradients for zeros.
    return lambda products: found(products / products.trace())


def _own(net: HydraNet, name: str) -> list[nn.Parameter]:
    return [p for p in net.heads[name].parameters() if p.requires_grad]


def _mask(there: list[bool], losses: Losses) -> Tensor:
    return torch.tensor(there, device=next(iter(losses.values())).device)


def _combine(rows: Sequence[Gradients], weights: Sequence[float], like: Sequence[Tensor]) -> list[Tensor | None]:
    """The weighted sum of gradients, laid out in memory as the tensors they belong to; None where all are."""
    reached = [any(g is not None for g in column) for column in zip(*rows, strict=True)]
    total = [torch.zeros_like(x) if is_reached else None for x, is_reached in zip(like, reached, strict=True)]
    for row, weight in zip(rows, weights, strict=True):
        pairs = [(x, g) for x, g in zip(total, row, strict=True) if x is not None and g is not None]
        torch._foreach_add_([x for x, _ in pairs], [g for _, g in pairs], alpha=weight)
    return total


def _accumulate(tensors: Sequence[Tensor], gradients: Gradients) -> None:
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if gradient is not None:
            tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
