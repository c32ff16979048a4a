"""Uncertainty weighting against torch's Adam on the paper's loss."""

import pytest
import torch

from hybridvit.hydra.balance.uncertainty import UncertaintyConfig

NAMES = ("a", "b", "c")


def test_uncertainty_is_adam_on_the_log_variances(learned):
    balance = UncertaintyConfig(lr=0.2).build(NAMES)
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s], lr=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(13):
        values = torch.rand(3, generator=generator, dtype=torch.float64) * 3
        assert learned.update(balance, values) == pytest.approx((-s).exp().tolist(), rel=1e-5)
        adam.zero_grad()
        ((-s).exp() * values + s / 2).sum().backward()
        adam.step()
    assert balance.weights().keys() == set(NAMES)


def test_uncertainty_settles_at_half_the_inverse_loss(learned):
    balance = UncertaintyConfig(lr=0.05).build(NAMES)
    for _ in range(400):
        actual = learned.update(balance, (0.25, 1.0, 4.0))
    assert actual == pytest.approx([2.0, 0.5, 0.125], rel=0.02)
