"""Dynamic weight average, by hand."""

import math

import pytest
import torch

from hybridvit.hydra.balance.dwa import DWAConfig

NAMES = ("a", "b", "c")
PRESENT = dict.fromkeys(NAMES, torch.tensor(True))


def test_dwa_by_hand(learned):
    balance = DWAConfig(temperature=2.0, window=2).build(NAMES)
    course = [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0), (1.0, 1.0, 4.0), (2.0, 1.0, 2.0), (9.0, 9.0, 9.0), (1.0, 1.0, 1.0)]
    actual = [learned.update(balance, values) for values in course]
    assert actual[:4] == [pytest.approx([1, 1, 1])] * 4  # two windows of two are over after the fourth
    raised = [math.exp(r / 2) for r in (1.5 / 2, 1 / 2, 3 / 2)]  # means 2, 2, 2, then 1.5, 1, 3
    expected = [3 * e / sum(raised) for e in raised]
    assert actual[4] == pytest.approx(expected, rel=1e-6)
    assert actual[5] == pytest.approx(expected, rel=1e-6)
    raised = [math.exp(r / 2) for r in (5 / 1.5, 5 / 1, 5 / 3)]
    assert learned.update(balance, (1, 1, 1)) == pytest.approx([3 * e / sum(raised) for e in raised], rel=1e-6)


def test_dwa_counts_only_updates_that_have_the_task(learned):
    balance, net = DWAConfig(window=2).build(NAMES), learned.net()
    for step in range(6):
        losses = learned.losses(net, torch.tensor([1.0, 2.0 + step, 3.0]), torch.ones(3, 2))
        present = PRESENT | {"b": torch.tensor(step % 2 == 0)}
        balance.backward(losses, present, net, torch.Tensor.backward)
    assert float(balance.state()["last.b"]) == 3.0  # mean of steps 0 and 2
    assert math.isnan(float(balance.state()["last_but_one.b"]))
    assert float(balance.state()["sum.b"]) == 6.0
