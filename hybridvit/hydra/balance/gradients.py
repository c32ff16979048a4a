"""Balancing methods that compare the tasks' gradients in the trunk."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from hybridvit.config import PositiveInt
from hybridvit.hydra.balance.base import Balance, Losses, MethodConfig
from hybridvit.hydra.balance.trunk_gradients import Gradients, gramian
from hybridvit.hydra.hydranet import HydraNet

Weighting = Callable[[Tensor], Tensor]  # inner products of the gradients [t, t] -> weights [t], float64 on the CPU


class GradientConfig(MethodConfig):
    """Base of the methods that compare the tasks' gradients; each gives its ``weighting``.

    With ``at="parameters"`` and ``every=1`` a method is the published one, and an update takes a backward pass
    for each task: with four tasks on the CPU 3.0 to 3.2 times as long as a plain sum. With ``every=2`` it takes about
    2.0 times as long, with ``every=4`` 1.5 times, and with ``at="features"`` 1.0 to 1.1 times.

    Attributes:
        at: where the gradients are compared: at the trunk's parameters, or at the features that the heads read,
            which takes one backward pass through the trunk for all tasks. For MGDA the latter is an upper bound of the
            former (MGDA-UB: Sener and Koltun, arXiv 1810.04650, §3.3); for the others it is another method.
        every: updates between two comparisons; updates in between keep the last weights and take one backward pass
            (as the authors of Nash-MTL do, arXiv 2202.01017). A change of the tasks that have labels compares anew.
    """

    at: Literal["parameters", "features"] = "parameters"
    every: PositiveInt = 1

    def __post_init__(self) -> None:
        if self.at == "features" and self.every > 1:
            raise ValueError(f"every {self.every} saves no backward pass with at='features': leave it at 1")

    @abstractmethod
    def weighting(self) -> Weighting:
        """The weights of the gradients as a function of their inner products.

        Raises:
            ValueError: a package that the method needs is missing.
        """

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        if self.at == "features" and net is None:
            raise ValueError(f"balance {self.kind} at features needs the net: build(..., net=net)")
        return GradientBalance(tasks, self, net)


class FeatureTap:
    """A forward hook that gives the heads aliases of the backbone's features, and holds these aliases.

    Gradients of the heads can then be taken at the features, although one feature may be a view of another.
    """

    def __init__(self) -> None:
        self.features: list[Tensor] = []

    def __call__(self, backbone: nn.Module, inputs: Any, features: Any) -> Any:
        if not torch.is_grad_enabled():
            return features
        self.features = []
        return tree_map_only(Tensor, self._alias, features)

    def __reduce__(self) -> tuple[type[FeatureTap], tuple[()]]:
        return FeatureTap, ()  # a copy of the net holds its own features

    def take(self) -> list[Tensor]:
        """The features of the last forward pass that can have a gradient; each forward pass gives them once."""
        features, self.features = self.features, []
        return features

    def _alias(self, feature: Tensor) -> Tensor:
        if not feature.requires_grad:
            return feature
        self.features.append(feature.view_as(feature))
        return self.features[-1]


class GradientBalance(Balance):
    """A weighted sum of the tasks' gradients in the trunk, whose weights depend on the angles between them.

    The weights of every method here follow from the t·t inner products of the gradients, so the gradients are never
    copied into one matrix. Each head gets its own plain gradient. Where the method finds no weights (its solver fails,
    a gradient is not finite) that update is a plain sum.

    Backward passes run one after the other. All of them in one batched vector-Jacobian product
    (``is_grads_batched``) took 1.15 to 1.6 times as long on the CPU, where matrix products take most of the time
    and a batch of them is no faster.
    """

    def __init__(self, tasks: tuple[str, ...], config: GradientConfig, net: HydraNet | None) -> None:
        super().__init__(tasks, config)
        self.weighting = config.weighting()
        self.tap: FeatureTap | None = None
        if config.at == "features" and net is not None:
            self.tap = FeatureTap()
            net.backbone.register_forward_hook(self.tap)
        self._warned = False
        if config.every > 1:  # the weights of the last comparison, NaN for absent tasks, and the updates since
            self.memory["weight"] = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
            self.memory["age"] = torch.zeros(len(tasks))

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        mask = torch.stack([present[name] for name in self.tasks])
        index = mask.nonzero().flatten().tolist()
        names = [self.tasks[i] for i in index]
        targets = _trained(net.backbone) if self.tap is None else self.tap.take()  # where gradients are compared
        if not targets:
            raise ValueError(f"balance {self.config.kind} has no effect: nothing in the trunk is trained")
        if len(index) == 1:
            backward(losses[names[0]])
            self._keep(torch.ones(1, dtype=torch.float64), index)
        elif index and (weights := self._last_weights(index)) is not None:
            self._weighted_backward(weights, names, losses, net, targets)
        elif index:
            self._keep(self._compare(names, losses, net, targets), index)
        return torch.stack([losses[name].detach() for name in self.tasks]).where(mask, 0).sum()

    def _compare(self, names: Sequence[str], losses: Losses, net: HydraNet, targets: Sequence[Tensor]) -> Tensor:
        """One backward pass for each task, and the weighted sum of their gradients; returns the weights."""
        rows: list[Gradients] = []
        for number, name in enumerate(names, start=1):
            own = _trained(net.heads[name])
            retain = self.tap is not None or number < len(names)
            gradients = torch.autograd.grad(losses[name], [*targets, *own], retain_graph=retain, allow_unused=True)
            rows.append(gradients[: len(targets)])
            _accumulate(own, _combine([gradients[len(targets) :]], [1.0], own))
        weights = self._weights(gramian(rows))
        combined = _combine(rows, weights.tolist(), targets)
        if self.tap is None:
            _accumulate(targets, combined)
        else:
            reached = [(target, g) for target, g in zip(targets, combined, strict=True) if g is not None]
            torch.autograd.backward([target for target, _ in reached], [g for _, g in reached])
        return weights

    def _weighted_backward(
        self, weights: Tensor, names: Sequence[str], losses: Losses, net: HydraNet, targets: Sequence[Tensor]
    ) -> None:
        """One backward pass through the trunk, with the weights of the last comparison."""
        if own := [p for name in names for p in _trained(net.heads[name])]:
            torch.stack([losses[name] for name in names]).sum().backward(inputs=own, retain_graph=True)
        total = torch.stack([weight * losses[name] for weight, name in zip(weights.tolist(), names, strict=True)]).sum()
        total.backward(inputs=targets)
        self.memory["age"] += 1
        self.log(self.memory["weight"])

    def _last_weights(self, index: list[int]) -> Tensor | None:
        """The weights of the last comparison, if it was of the same tasks and fewer than ``every`` updates ago."""
        if self.config.every == 1 or self.memory["age"][0] + 1 >= self.config.every:
            return None
        last = self.memory["weight"]
        return last[index] if (~last.isnan()).nonzero().flatten().tolist() == index else None

    def _keep(self, weights: Tensor, index: list[int]) -> None:
        """Stores the weights of these tasks, for the log and for the updates until the next comparison."""
        last = weights.new_full((len(self.tasks),), torch.nan)
        last[index] = weights
        self.log(last)
        if self.config.every > 1:
            self.memory = {"weight": last, "age": torch.zeros(len(self.tasks))}

    def _weights(self, products: Tensor) -> Tensor:
        """The method's weights, or equal ones and a warning where it finds none."""
        equal = torch.ones(len(products), dtype=torch.float64)
        if products.trace() == 0:
            return equal
        fault = "a gradient is not finite"
        if products.isfinite().all():
            try:
                weights = self.weighting(products)
                if weights.isfinite().all():
                    return weights
                fault = "its weights are not finite"
            except Exception as error:  # the solvers behind torchjd raise errors of many kinds
                fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if not self._warned:
            warnings.warn(f"balance {self.config.kind}: {fault}; a plain sum for this update", stacklevel=4)
            self._warned = True
        return equal


def _trained(module: nn.Module) -> Sequence[Tensor]:
    return [p for p in module.parameters() if p.requires_grad]


def _combine(rows: Sequence[Gradients], weights: Sequence[float], like: Sequence[Tensor]) -> list[Tensor | None]:
    """The weighted sum of gradients in the memory layout of their tensors; None where all gradients are None."""
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
