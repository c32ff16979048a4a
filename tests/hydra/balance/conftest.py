"""Nets small enough to follow by hand."""

import pytest
import torch
from torch import nn

from hybridvit.hydra.hydranet import HydraNet


class Linear:
    """Losses that are linear in the parameters, so that every task's gradient is a row of a given matrix."""

    NAMES = ("a", "b", "c", "d")

    class Trunk(nn.Module):
        """Eleven numbers in two tensors, and one tensor that no loss reaches."""

        def __init__(self):
            super().__init__()
            self.one = nn.Parameter(torch.zeros(5, dtype=torch.float64))
            self.two = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
            self.unused = nn.Parameter(torch.zeros(7, dtype=torch.float64))

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def net(self, names=NAMES):
        return HydraNet(self.Trunk(), {name: self.Head() for name in names})

    def jacobian(self, seed, tasks=4, conflict=True):
        """Gradients of tasks as rows, ``[t, 11]``."""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(tasks, 11, generator=generator, dtype=torch.float64)
        return rows * torch.arange(1, tasks + 1)[:, None] if conflict else rows.abs()

    def losses(self, net, rows):
        """One loss for each row, whose gradient in the trunk is the row and in its head is 1."""
        trunk = torch.cat([net.backbone.one, net.backbone.two.flatten()])
        return {name: trunk @ row + net.heads[name].own.sum() for name, row in zip(net.heads, rows, strict=True)}

    def update(self, config, rows, balance=None):
        """What a method makes of these gradients in the trunk, ``[11]``."""
        names = self.NAMES[: len(rows)]
        net, balance = self.net(names), balance or config.build(names)
        balance.backward(self.losses(net, rows), dict.fromkeys(names, torch.tensor(True)), net, torch.Tensor.backward)
        assert net.backbone.unused.grad is None
        for head in net.heads.values():
            assert torch.equal(head.own.grad, torch.ones(3, dtype=torch.float64)), "a head gets its plain gradient"
        return torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])


class Learned:
    """Losses of given values and slopes, for the methods that learn weights."""

    NAMES = ("a", "b", "c")

    class Trunk(nn.Module):
        """Five numbers of which the last stage that holds a matrix is the middle one."""

        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.zeros(2, 1))
            self.middle = nn.Parameter(torch.zeros(1, 2))
            self.norm = nn.Parameter(torch.zeros(1))

        def parameter_layers(self):
            return [("first",), ("middle",), ("norm",)]

    def net(self):
        return HydraNet(self.Trunk(), {})

    def losses(self, net, values, slopes):
        """Losses of these values whose gradients in the middle stage are the rows of slopes."""
        trunk = net.backbone
        return {
            name: value + (trunk.middle * slope).sum() + 100 * trunk.first.sum() + 10 * trunk.norm.sum()
            for name, value, slope in zip(self.NAMES, values, slopes, strict=True)
        }

    def update(self, balance, values, slopes=None, after=None):
        """Weights used in one update, as the gradient of each loss in the scalar that is minimised."""
        net = self.net()
        leaves = [torch.tensor(float(v), requires_grad=True) for v in values]
        losses = self.losses(net, leaves, torch.ones(3, 2) if slopes is None else slopes)
        balance.backward(losses, dict.fromkeys(self.NAMES, torch.tensor(True)), net, torch.Tensor.backward)
        if after is not None:
            updated = {name: torch.tensor(float(v)) for name, v in zip(self.NAMES, after, strict=True)}
            balance.after_step(lambda: updated)
        return [float(leaf.grad) for leaf in leaves]


@pytest.fixture
def linear():
    return Linear()


@pytest.fixture
def learned():
    return Learned()
