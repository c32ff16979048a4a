"""Several losses, one update: what every balancing method does, and the plain and the fixed sum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hybridvit.hydra.hydranet import HydraNet

Losses = Mapping[str, Tensor]
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, for the methods that learn weights


class Balance(ABC):
    """Turns the losses of several tasks into gradients; made by ``build.create_balance``.

    A task without any label in the batch is absent: the others get what the method gives them alone, and nothing
    that is remembered of the absent task moves. A task that is alone gets its plain gradient.

    Args:
        tasks: names of the tasks.

    Attributes:
        needs_second_forward: whether ``after_step`` is to be called after every update.
        memory: what the method remembers: name -> one number for each task, ``[t]``.
    """

    needs_second_forward: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self.memory: dict[str, Tensor] = {}
        self._used: Tensor | None = None

    @abstractmethod
    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        """Adds this batch's gradients to the ``.grad`` of the net's parameters.

        Args:
            losses: task name -> mean over its labelled samples, a scalar; 0 without any.
            present: task name -> bool scalar, whether the batch has any label of the task.
            net: the shared trunk ``backbone`` and each task's own ``heads``.
            backward: as ``accelerator.backward``; called where one scalar is all that a method needs.

        Returns:
            The total that was minimised, for the log, detached; of methods on gradients the sum of the losses.
        """

    def after_step(self, losses: Callable[[], Losses]) -> None:
        """What to learn from the update; ``losses()`` is each task's loss on the same batch, now."""
        assert not self.needs_second_forward, "a method that looks again says what it learns"

    def weights(self) -> dict[str, float]:
        """Task name -> factor on its gradient in the last update that had the task; empty if that says nothing."""
        if self._used is None:
            return {}
        used = zip(self.tasks, self._used.tolist(), strict=True)
        return {name: weight for name, weight in used if not math.isnan(weight)}

    def state(self) -> dict[str, Tensor]:
        """What ``load_state`` needs to go on exactly: scalars on the CPU, QUANTITY.TASK."""
        return {
            f"{quantity}.{task}": values[index].detach().cpu().clone()
            for quantity, values in self.memory.items()
            for index, task in enumerate(self.tasks)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`state` took.

        Raises:
            ValueError: it is that of other tasks or of another method.
        """
        wanted = {f"{quantity}.{task}" for quantity in self.memory for task in self.tasks}
        if wanted != state.keys():
            odd = sorted(wanted ^ state.keys())[0]
            fault = "lacks" if odd in wanted else "has"
            raise ValueError(f"the checkpoint is of other tasks or of another way to balance them: it {fault} {odd}")
        for quantity, values in self.memory.items():
            found = torch.stack([state[f"{quantity}.{task}"] for task in self.tasks])
            self.memory[quantity] = found.to(values.device, values.dtype)


class SumBalance(Balance):
    """The plain sum of the losses; costs nothing beyond it."""

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        if len(self.tasks) == 1:
            total = losses[self.tasks[0]]
        else:
            there = torch.stack([present[name] for name in self.tasks])
            total = torch.stack([losses[name] for name in self.tasks]).where(there, 0).sum()
        backward(total)
        return total.detach()


class WeightedBalance(Balance):
    """A weighted sum of the losses, in one backward pass. Where nothing has a label the gradients are zeros."""

    def backward(self, losses: Losses, present: Losses, net: HydraNet, backward: Callable[[Tensor], None]) -> Tensor:
        values = torch.stack([losses[name] for name in self.tasks])
        there = torch.stack([present[name] for name in self.tasks])
        self.memory = {name: memory.to(values.device) for name, memory in self.memory.items()}
        used = self.weigh(values.detach().float(), there, losses, net)
        before = torch.full_like(used, torch.nan) if self._used is None else self._used
        self._used = torch.where(there, used, before)
        total = (values.where(there, 0) * used.where(there, 0)).sum()
        backward(total)
        return total.detach()

    @abstractmethod
    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        """The weights for this batch, ``[t]``; what absent tasks get is not used.

        Args:
            values: the losses ``[t]``, detached.
            there: which tasks are present, bool ``[t]``.
            losses: the losses with their graphs.
            net: the net that made them.
        """

    def adam(self, quantity: str, gradient: Tensor, there: Tensor, lr: float, decay: float = 0.0) -> None:
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
            self.memory[name] = torch.where(there, new, before)

    def learns(self, quantity: str, start: float) -> None:
        """Remembers a quantity that :meth:`adam` moves."""
        self.memory[quantity] = torch.full((len(self.tasks),), start)
        for name in ("mean", "square", "steps"):
            self.memory[f"{quantity}_{name}"] = torch.zeros(len(self.tasks))


class FixedBalance(WeightedBalance):
    """A sum with fixed weights. A task that is alone keeps its weight.

    Args:
        weights: task name -> factor on its loss.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(tuple(weights))
        self.fixed = torch.tensor(list(weights.values()))

    def weigh(self, values: Tensor, there: Tensor, losses: Losses, net: HydraNet) -> Tensor:
        self.fixed = self.fixed.to(values.device)
        return self.fixed

    def weights(self) -> dict[str, float]:
        return {}
