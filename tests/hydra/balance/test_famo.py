"""FAMO against torchjd's."""

import pytest
import torch

from hybridvit.hydra.balance.famo import FAMOConfig

NAMES = ("a", "b", "c")


def test_famo_is_that_of_torchjd(learned):
    from torchjd.scalarization import FAMO

    oracle = FAMO(3, lr=0.1, weight_decay=0.01)
    balance = FAMOConfig(lr=0.1, decay=0.01).build(NAMES)
    assert balance.needs_second_forward
    generator = torch.Generator().manual_seed(0)
    for _ in range(13):
        before = torch.rand(3, generator=generator) * 2 + 0.1
        after = before * (0.5 + torch.rand(3, generator=generator))
        expected = before.clone().requires_grad_()
        oracle(expected).backward()
        assert learned.update(balance, before, after=after) == pytest.approx(expected.grad.tolist(), rel=1e-4)
        oracle.update(after)


def test_famo_gives_weight_to_the_loss_that_falls_least(learned):
    balance = FAMOConfig(lr=0.1).build(NAMES)
    for _ in range(20):
        actual = learned.update(balance, (1.0, 1.0, 1.0), after=(0.5, 0.9, 0.5))
    assert actual[1] > 0.5
    assert actual[0] == pytest.approx(actual[2])
    assert sum(actual) == pytest.approx(1)
