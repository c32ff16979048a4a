"""What every balancing method does with the losses of several tasks, and the plain and the fixed sum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hybridvit.config import Config, NonNegativeFloat, nearest
from hybridvit.hydra.hydranet import HydraNet

Losses = Mapping[str, Tensor]
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, for the methods that learn weights


class MethodConfig(Config):
    """Base of the balancing methods' configurations; each gives its ``kind`` and makes its method.

    Attributes:
        distributed: whether the method trains in several processes. Most methods do not. Each process has its own
            losses and missing labels, so learned weights would drift apart. Gradients of single tasks bypass the
            averaging that distributed training hooks into the one backward pass.
    """

    kind: str
    distributed: ClassVar[bool] = False

    def build(self, task_names: Sequence[str], net: HydraNet | None = None, num_processes: int = 1) -> Balance:
        """The method for these tasks.

        Args:
            task_names: the tasks, as in the net's heads.
            net: the net to be trained; methods with ``at="features"`` add a forward hook to its backbone.
            num_processes: processes that train together.

        Raises:
            ValueError: weights that do not fit the tasks, several processes, a missing package, or no net where the
                method needs one.
        """
        if num_processes > 1 and not self.distributed:
            raise ValueError(f"balance {self.kind} trains in 1 process, not in {num_processes}: choose sum or fixed")
        return self.method(tuple(task_names), net)

    @abstractmethod
    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        """The method, whose arguments :meth:`build` has checked."""


class Balance(ABC):
    """Turns the losses of several tasks into gradients.

    A task without any label in the batch is absent. The others get what the method gives them alone, and the memory
    of the absent task does not change. A task that is alone gets its plain gradient.

    Args:
        tasks: names of the tasks.
        config: the method's settings.

    Attributes:
        needs_second_forward: whether ``after_step`` is to be called after every update.
        memory: what the method remembers: name -> one number for each task, ``[t]``.
    """

    needs_second_forward: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str], config: Any = None) -> None:
        self.tasks, self.config = tuple(tasks), config
        self.memory: dict[str, Tensor] = {}
        self._used: Tensor | None = None

    @abstractmethod
    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        """Adds this batch's gradients to the ``.grad`` of the net's parameters.

        Args:
            losses: task name -> mean over its labelled samples, a scalar; 0 without any.
            present: task name -> bool scalar, whether the batch has any label of the task.
            net: the shared trunk ``backbone`` and each task's own ``heads``.
            backward: as ``accelerator.backward``; called where the method needs a single backward pass.

        Returns:
            The minimised total for the log, detached; methods on gradients return the sum of the losses.
        """

    def after_step(self, losses: Callable[[], Losses]) -> None:
        """Learns from the update; ``losses()`` gives each task's loss on the same batch after it."""
        assert not self.needs_second_forward, "a method that needs a second forward pass overrides after_step"

    def weights(self) -> dict[str, float]:
        """Task name -> factor on its gradient in the last update that had the task; empty if there is none to log."""
        used = [] if self._used is None else self._used.tolist()
        return {name: weight for name, weight in zip(self.tasks, used, strict=False) if not math.isnan(weight)}

    def log(self, weights: Tensor) -> None:
        """Notes the weights ``[t]`` of an update for :meth:`weights`; NaN for absent tasks."""
        self._used = weights if self._used is None else torch.where(weights.isnan(), self._used, weights)

    def state(self) -> dict[str, Tensor]:
        """The memory, from which ``load_state`` resumes exactly: scalars on the CPU, QUANTITY.TASK."""
        return {
            f"{quantity}.{task}": values[index].detach().cpu().clone()
            for quantity, values in self.memory.items()
            for index, task in enumerate(self.tasks)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what :meth:`state` returned.

        Raises:
            ValueError: the state is that of other tasks or of another method.
        """
        expected = {f"{quantity}.{task}" for quantity in self.memory for task in self.tasks}
        if expected != state.keys():
            key = sorted(expected ^ state.keys())[0]
            fault = "lacks" if key in expected else "has"
            raise ValueError(f"the checkpoint is of other tasks or of another way to balance them: it {fault} {key}")
        for quantity, values in self.memory.items():
            restored = torch.stack([state[f"{quantity}.{task}"] for task in self.tasks])
            self.memory[quantity] = restored.to(values.device, values.dtype)


class SumConfig(MethodConfig):
    """The plain sum of the losses, which well-tuned baselines use (Kurin et al., arXiv 2201.04122)."""

    kind: Literal["sum"] = "sum"
    distributed = True

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        return SumBalance(tasks)


class SumBalance(Balance):
    """The plain sum of the losses; costs nothing beyond it."""

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        if len(self.tasks) == 1:
            total = losses[self.tasks[0]]
        else:
            mask = torch.stack([present[name] for name in self.tasks])
            total = torch.stack([losses[name] for name in self.tasks]).where(mask, 0).sum()
        backward(total)
        return total.detach()


class WeightedBalance(Balance):
    """A weighted sum of the losses, in one backward pass. A batch without any label gives gradients of zero.

    Attributes:
        remembered: initial value of what the method remembers of each task.
        learned: initial value of what :meth:`adam` updates.
    """

    remembered: Mapping[str, float] = {}
    learned: Mapping[str, float] = {}

    def __init__(self, tasks: Sequence[str], config: Any = None) -> None:
        super().__init__(tasks, config)
        initial = {**self.remembered, **self.learned}
        initial |= {f"{quantity}_{name}": 0.0 for quantity in self.learned for name in ("mean", "square", "steps")}
        self.memory = {name: torch.full((len(self.tasks),), value) for name, value in initial.items()}

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        values = torch.stack([losses[name] for name in self.tasks])
        mask = torch.stack([present[name] for name in self.tasks])
        self.memory = {name: memory.to(values.device) for name, memory in self.memory.items()}
        weights = self.weigh(values.detach().float(), mask, losses, net)
        self.log(weights.where(mask, torch.nan))
        total = (values.where(mask, 0) * weights.where(mask, 0)).sum()
        backward(total)
        return total.detach()

    @abstractmethod
    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        """The weights for this batch, ``[t]``; those of absent tasks are not used.

        Takes the detached ``values [t]`` of the losses, the bool ``mask [t]`` of the tasks that are present, the
        losses with their graphs, and the net that made them.
        """

    def adam(self, quantity: str, gradient: Tensor, mask: Tensor, lr: float, decay: float = 0.0) -> None:
        """One step of Adam (arXiv 1412.6980) on a remembered quantity, for present tasks only."""
        names = (quantity, f"{quantity}_mean", f"{quantity}_square", f"{quantity}_steps")
        old = [self.memory[name] for name in names]
        gradient = gradient + decay * old[0]
        steps = old[3] + 1
        mean = BETAS[0] * old[1] + (1 - BETAS[0]) * gradient
        square = BETAS[1] * old[2] + (1 - BETAS[1]) * gradient**2
        unbiased = (square / (1 - BETAS[1] ** steps)).sqrt() + EPSILON
        value = old[0] - lr * mean / (1 - BETAS[0] ** steps) / unbiased
        for name, new, before in zip(names, (value, mean, square, steps), old, strict=True):
            self.memory[name] = torch.where(mask, new, before)


class FixedConfig(MethodConfig):
    """A sum with fixed weights.

    Attributes:
        weights: task name -> factor on its loss; every task is named.
    """

    kind: Literal["fixed"] = "fixed"
    weights: dict[str, NonNegativeFloat]
    distributed = True

    def __post_init__(self) -> None:
        if not any(self.weights.values()):
            raise ValueError("weights must hold at least one that is above 0")

    def method(self, tasks: tuple[str, ...], net: HydraNet | None) -> Balance:
        for name in self.weights:
            if name not in tasks:
                raise ValueError(f"balance.weights names no task {name!r}: {nearest(name, tasks)}")
        for name in tasks:
            if name not in self.weights:
                raise ValueError(f"balance.weights lacks task {name!r}: every task needs a weight")
        return FixedBalance({name: self.weights[name] for name in tasks})


class FixedBalance(WeightedBalance):
    """A sum with fixed weights. A task that is alone keeps its weight."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(tuple(weights))
        self.fixed = torch.tensor(list(weights.values()))

    def weigh(self, values: Tensor, mask: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        self.fixed = self.fixed.to(values.device)
        return self.fixed

    def weights(self) -> dict[str, float]:
        return {}


def masked_softmax(x: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the present entries ``[t]``; 0 for the others."""
    return x.masked_fill(~mask, -torch.inf).softmax(dim=0).nan_to_num(0.0)
