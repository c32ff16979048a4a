"""The MLP against numpy with scipy's error function."""

import numpy as np
import torch
from scipy.special import erf

from hybridvit.layers import MLP


def test_mlp_by_formula(randomise):
    mlp = randomise(MLP(7, 11, dropout=0.5)).eval()
    x = torch.randn(2, 5, 7)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in mlp.parameters())
    hidden = x.double().numpy() @ w1.T + b1
    expected = (hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))) @ w2.T + b2
    np.testing.assert_allclose(mlp(x, (1, 5)).detach().numpy(), expected, atol=1e-5)


def test_dropout_after_both_layers(randomise):
    mlp = randomise(MLP(7, 11, dropout=0.25))
    x = torch.randn(1, 4001, 7)
    hidden = []
    mlp.fc2.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    out = mlp(x)
    for tensor in (hidden[0], out):
        assert abs((tensor == 0).float().mean().item() - 0.25) < 0.01
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))
    kept = hidden[0] != 0
    torch.testing.assert_close(hidden[0][kept], hidden[1][kept] / 0.75)
