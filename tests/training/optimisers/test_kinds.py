"""AdamW's settings, and a step of it by hand."""

import pytest
import torch
from torch import nn

from hybridvit.training.optimisers.kinds import AdamWConfig, SGDConfig


def test_adamw_gets_the_settings():
    config = AdamWConfig(lr=0.003, weight_decay=0.07, beta1=0.8, beta2=0.95)
    optimiser = config.build(nn.Linear(2, 3))
    assert isinstance(optimiser, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.07, 0.0]
    for group in optimiser.param_groups:
        assert (group["lr"], group["betas"]) == (0.003, (0.8, 0.95))


def test_one_step_of_adamw_by_hand():
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(3.0)
    optimiser = AdamWConfig(lr=0.1, weight_decay=0.5).build(layer)
    (5 * layer.weight + 7 * layer.bias).sum().backward()
    optimiser.step()  # the first step has length lr, after a decay of lr · weight_decay
    assert layer.weight.item() == pytest.approx(2 * (1 - 0.05) - 0.1, rel=1e-5)
    assert layer.bias.item() == pytest.approx(3 - 0.1, rel=1e-5)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_is_torchs_with_nesterov_momentum(momentum):
    model, reference = nn.Linear(3, 5), nn.Linear(3, 5)
    reference.load_state_dict(model.state_dict())
    optimiser = SGDConfig(lr=0.1, momentum=momentum, weight_decay=0.3).build(model)
    velocity = {}
    for step in range(4):
        x = torch.randn(7, 3, generator=torch.Generator().manual_seed(step))
        for net in (model, reference):
            net.zero_grad()
            net(x).square().mean().backward()
        optimiser.step()
        with torch.no_grad():  # v = m·v + g, w = w - lr·(g + m·v), decay inside g
            for name, p in reference.named_parameters():
                g = p.grad + (0.3 * p if name == "weight" else 0)
                velocity[name] = momentum * velocity[name] + g if name in velocity else g
                p -= 0.1 * (g + momentum * velocity[name])
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
