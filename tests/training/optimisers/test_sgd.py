"""SGD by hand."""

import pytest
import torch
from torch import nn

from hybridvit.training.optimisers.kinds import SGDConfig


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
