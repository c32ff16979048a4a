"""Balancing methods that compare the tasks' gradients; what they decide is torchjd's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.hydra.balance_config import (
    AlignedMTLConfig,
    CAGradConfig,
    GradientConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
)
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.hydra.task_balance import Balance, Losses
from hybridvit.hydra.trunk_gradients import Gradients, gramian

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
        self._weighting = None if isinstance(config, NashMTLConfig) else _weighting(config)
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

    def solve(self, products: Tensor, names: Sequence[str]) -> Tensor:
        """The weights ``[t]`` of the named tasks from their gradients' inner products ``[t, t]``."""
        assert self._weighting is not None
        return self._weighting(products / products.trace())  # no weighting depends on the scale, but some cut it off

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
        weights = self._solve_or_sum(gramian(rows), names)
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

    def _solve_or_sum(self, products: Tensor, names: Sequence[str]) -> Tensor:
        equal = torch.ones(len(names), dtype=torch.float64)
        if not products.isfinite().all():
            fault = "a gradient is not finite"
        elif products.trace() == 0:
            return equal
        else:
            try:
                weights = self.solve(products, names)
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


class NashMTLBalance(GradientBalance):
    """Nash-MTL, whose solver starts from each task's last weight.

    Args:
        tasks: names of the tasks.
        config: where and how often gradients are compared.
        tap: what sees the features, for ``at="features"``.

    Raises:
        ValueError: a package that the method needs is missing.
    """

    def __init__(self, tasks: Sequence[str], config: NashMTLConfig, tap: FeatureTap | None = None) -> None:
        super().__init__(tasks, config, tap)
        self.memory["alpha"] = torch.ones(len(tasks), dtype=torch.float64)
        self._solvers = {len(tasks): _nash_mtl(len(tasks))}

    def solve(self, products: Tensor, names: Sequence[str]) -> Tensor:
        count, index = len(names), self._index(names)
        if count not in self._solvers:
            self._solvers[count] = _nash_mtl(count)
        solver = self._solvers[count]
        # All that torchjd's solver carries over from one call to the next; it is for a fixed list of tasks.
        solver.weighting.prvs_alpha = self.memory["alpha"][index].numpy()
        values, vectors = torch.linalg.eigh(products)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cvxpy's, on every call: the problem compiles anew each time
            weights: Tensor = solver.weighting(vectors * values.clamp(min=0).sqrt())  # rows of the same inner products
        if weights.isfinite().all():
            self.memory["alpha"][index] = torch.as_tensor(solver.weighting.prvs_alpha, dtype=torch.float64)
        return weights


def _weighting(config: GradientConfig) -> Weighting:
    try:
        from torchjd import aggregation

        if isinstance(config, PCGradConfig):
            return aggregation.PCGradWeighting()  # type: ignore[return-value]
        if isinstance(config, MGDAConfig):
            return aggregation.MGDAWeighting()  # type: ignore[return-value]
        if isinstance(config, CAGradConfig):
            return aggregation.CAGradWeighting(c=config.c)  # type: ignore[return-value]
        if isinstance(config, AlignedMTLConfig):
            return aggregation.AlignedMTLWeighting()  # type: ignore[return-value]
        return aggregation.UPGradWeighting()  # type: ignore[return-value]
    except ImportError as error:
        raise _missing(config.kind) from error


def _nash_mtl(count: int) -> Any:
    try:
        from torchjd.aggregation import NashMTL

        return NashMTL(n_tasks=count)
    except ImportError as error:
        raise _missing("nash_mtl") from error


def _missing(kind: str) -> ValueError:
    return ValueError(f"balance {kind} needs torchjd and its solvers: pip install 'hybridvit[balancing]'")


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
