"""Locality self-attention against a loop over its definition, in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from hybridvit.layers import LSA, MHSA, RelativeBias
from hybridvit.layers.attention import Kernel, merge_heads

B, H, D = 2, 3, 5


def by_loop(layer, x):
    """softmax over all other tokens of temperature · q_i · k_j, one head and query at a time: matrix and output."""
    b, n, dim = x.shape
    parts = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    qkv = x.double().numpy() @ parts["qkv.weight"].T + parts["qkv.bias"]
    matrix, mixed = np.zeros((b, H, n, n)), np.zeros((b, n, dim))
    for sample in range(b):
        q, k, v = np.split(qkv[sample], 3, axis=1)
        for head in range(H):
            own = slice(head * D, (head + 1) * D)
            for i in range(n):
                others = [j for j in range(n) if j != i]
                scores = [parts["temperature"][head] * (q[i, own] @ k[j, own]) for j in others]
                matrix[sample, head, i, others] = softmax(scores)
                mixed[sample, i, own] = matrix[sample, head, i] @ v[:, own]
    return matrix, mixed @ parts["proj.weight"].T + parts["proj.bias"]


@pytest.mark.parametrize("tokens", [2, 11, 71])
def test_equals_the_definition(tokens, randomise):
    layer = randomise(LSA(H * D, H))
    x = torch.randn(B, tokens, H * D)
    matrix, out = by_loop(layer, x)
    np.testing.assert_allclose(layer.weights(x).detach().numpy(), matrix, atol=1e-6)
    np.testing.assert_allclose(layer(x).detach().numpy(), out, atol=1e-5)


def test_no_token_looks_at_itself(randomise):
    layer = randomise(LSA(H * D, H), scale=1.0)
    x = torch.randn(B, 15, H * D)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        weights = layer.to(dtype).weights(x.to(dtype), (3, 5))
        assert not weights.diagonal(dim1=-2, dim2=-1).any()
    moved = x.double().clone()
    moved[:, 7] += 1.0
    layer.double()
    values = layer.values(moved) - layer.values(x.double())
    assert values[:, :, 7].abs().min() > 0
    mixed = layer.weights(x.double()) @ values  # the weights of the old image: a token's own value has no part
    assert not mixed[:, :, 7].any()
    assert (mixed[:, :, :7].abs().amax(-1) > 0).all()


def test_a_single_token_sees_itself(randomise):
    layer = randomise(LSA(H * D, H))
    x = torch.randn(B, 1, H * D)
    assert torch.equal(layer.weights(x), torch.ones(B, H, 1, 1))
    torch.testing.assert_close(layer(x), layer.proj(merge_heads(layer.values(x))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).isfinite().all()


@pytest.mark.parametrize(("scale", "start"), [(None, 1 / math.sqrt(D)), (0.3, 0.3)])
def test_temperatures_start_at_the_scale_of_plain_attention(scale, start):
    layer, plain = LSA(H * D, H, qk_scale=scale), MHSA(H * D, H, qk_scale=scale)
    assert layer.temperature.tolist() == pytest.approx([start] * H)
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "temperature"})
    x = torch.randn(B, 11, H * D)
    without_self = plain.weights(x) * (1 - torch.eye(11))
    expected = without_self / without_self.sum(-1, keepdim=True)
    torch.testing.assert_close(layer.weights(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_every_temperature_learns(fused, randomise, monkeypatch):
    monkeypatch.setattr("hybridvit.layers.attention.choose_kernel", lambda *_: Kernel(fused, torch.float64))
    layer = randomise(LSA(H * D, H)).double()
    x = torch.randn(B, 7, H * D, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def run(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, values, fast_mode=True)
    layer(x).square().sum().backward()
    assert (layer.temperature.grad.abs() > 1e-6).all()


@pytest.mark.parametrize("prefix", [0, 2])
def test_a_relative_bias_leaves_the_diagonal_masked(prefix, randomise):
    grid = (3, 5)
    layer = randomise(LSA(H * D, H, bias=RelativeBias(H, grid)), scale=0.5)
    with torch.no_grad():
        layer.bias.table[:, 2, 4] = 1e4  # the offset of a cell to itself
    x = torch.randn(B, prefix + 15, H * D)
    weights = layer.weights(x, grid)
    assert not weights.diagonal(dim1=-2, dim2=-1).any()
    q, k, _ = layer.heads(layer.qkv(x))
    scores = layer.temperature[:, None, None] * (q @ k.transpose(-2, -1)) + layer.bias(prefix + 15, grid)
    expected = scores.masked_fill(torch.eye(prefix + 15, dtype=torch.bool), -math.inf).softmax(-1)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
