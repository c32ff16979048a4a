"""Attention: the fast paths against the explicit matrix, and against torch's own module."""

import pytest
import torch
from torch import nn

from hybridvit.layers import attention
from hybridvit.layers.attention import MHSA, Kernel, attend, choose_kernel, merge_heads, split_heads
from hybridvit.layers.gpsa import GPSA

B, H, D = 2, 4, 7
GRIDS = [(3, 5), (7, 9), (4, 16), (7, 11)]  # 15, 63, 64 and 77 tokens: both sides of every threshold
KINDS = [(MHSA, True), (MHSA, False), (GPSA, True), (GPSA, False)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("kind", "bias"), KINDS)
def test_explicit_matrix_times_values_is_forward(kind, bias, grid, randomise):
    layer = randomise(kind(H * D, H, qkv_bias=bias))
    x = torch.randn(B, grid[0] * grid[1], H * D)
    weights, values = layer.weights(x, grid), layer.values(x)
    assert weights.shape == (B, H, x.shape[1], x.shape[1])
    assert values.shape == (B, H, x.shape[1], D)
    torch.testing.assert_close(layer.proj(merge_heads(weights @ values)), layer(x, grid), rtol=0, atol=1e-5)


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", [MHSA, GPSA])
def test_bf16_autocast_is_near_the_explicit_matrix(kind, grid, units, randomise, monkeypatch):
    monkeypatch.setattr(attention, "has_bf16_units", lambda: units)
    layer = randomise(kind(H * D, H), scale=0.2)
    x = torch.randn(B, grid[0] * grid[1], H * D)
    expected = layer.proj(merge_heads(layer.weights(x, grid) @ layer.values(x)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x, grid)
    assert out.dtype == torch.bfloat16
    error = (out.float() - expected).abs().max() / expected.abs().max()
    assert error < 0.03, f"relative error {error}"


@pytest.mark.parametrize("kind", [MHSA, GPSA])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
def test_both_kernels_agree_in_value_and_gradient(kind, grid, randomise, monkeypatch):
    layer = randomise(kind(H * D, H)).double()
    x = torch.randn(B, grid[0] * grid[1], H * D, dtype=torch.float64)
    readings = []
    for fused in (False, True):
        monkeypatch.setattr(attention, "choose_kernel", lambda *_, fused=fused: Kernel(fused, torch.float64))
        out = layer(x, grid)
        readings.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()))])
    for explicit, fused in zip(*readings, strict=True):
        torch.testing.assert_close(explicit, fused, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tokens", [11, 71])
@pytest.mark.parametrize("bias", [True, False])
def test_mhsa_equals_torch_multihead_attention(tokens, bias, randomise):
    layer = randomise(MHSA(H * D, H, qkv_bias=bias))
    reference = nn.MultiheadAttention(H * D, H, bias=True, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(layer.qkv.weight)
        reference.in_proj_bias.copy_(layer.qkv.bias if bias else torch.zeros(3 * H * D))
        reference.out_proj.weight.copy_(layer.proj.weight)
        reference.out_proj.bias.copy_(layer.proj.bias)
    x = torch.randn(B, tokens, H * D)
    expected, weights = reference(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.weights(x), weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [MHSA, GPSA])
def test_rows_of_weights_are_distributions(kind, randomise):
    layer = randomise(kind(H * D, H), scale=1.0)
    weights = layer.weights(torch.randn(B, 15, H * D), (3, 5))
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, 15), rtol=0, atol=1e-5)
    assert (weights >= 0).all()
    assert weights.std() > 0.02  # not the uniform distribution, which would sum to 1 as well


def test_heads_are_split_and_merged_as_the_field_does():
    qkv = torch.randn(B, 11, 3 * H * D)
    expected = qkv.reshape(B, 11, 3, H, D).permute(2, 0, 3, 1, 4)  # "b n (three h d) -> three b h n d"
    for part, wanted in zip(split_heads(qkv, H), expected, strict=True):
        assert torch.equal(part, wanted)
    assert torch.equal(merge_heads(expected[1]), qkv[..., H * D : 2 * H * D])


@pytest.mark.parametrize("fused", [True, False])
def test_attend_of_two_tokens_by_hand(fused):
    # scores q·k/√4 = [0, ln 3], so the weights are 1/4 and 3/4
    q = torch.tensor([[[[2.0, 0, 0, 0]]]])
    k = torch.tensor([[[[0.0, 0, 0, 0], [torch.log(torch.tensor(3.0)), 5, 0, 0]]]])
    v = torch.tensor([[[[4.0, 0, 0, 0], [8.0, 1, 0, 0]]]])
    out = attend(q, k, v, Kernel(fused, torch.float32))
    torch.testing.assert_close(out, torch.tensor([[[[7.0, 0.75, 0, 0]]]]))


@pytest.mark.parametrize(
    ("device", "dtype", "tokens", "units", "expected"),
    [
        ("cuda", torch.bfloat16, 5, False, (True, torch.bfloat16)),
        ("cuda", torch.float32, 5, False, (True, torch.float32)),
        ("mps", torch.float16, 5, False, (True, torch.float16)),
        ("cpu", torch.float32, 63, True, (False, torch.float32)),
        ("cpu", torch.float32, 64, True, (True, torch.float32)),
        ("cpu", torch.float64, 63, False, (False, torch.float64)),
        ("cpu", torch.float64, 64, False, (True, torch.float64)),
        ("cpu", torch.bfloat16, 63, True, (False, torch.bfloat16)),
        ("cpu", torch.bfloat16, 699, True, (False, torch.bfloat16)),
        ("cpu", torch.bfloat16, 700, True, (True, torch.bfloat16)),
        ("cpu", torch.bfloat16, 63, False, (False, torch.float32)),
        ("cpu", torch.bfloat16, 64, False, (True, torch.float32)),
        ("cpu", torch.float16, 63, True, (False, torch.float32)),
        ("cpu", torch.float16, 64, True, (True, torch.float32)),
    ],
)
def test_kernel_table(device, dtype, tokens, units, expected, monkeypatch):
    monkeypatch.setattr(attention, "has_bf16_units", lambda: units)
    assert choose_kernel(device, dtype, tokens) == expected


def test_fused_kernel_runs_from_64_tokens(monkeypatch):
    calls = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v):
        calls.append(q.shape[-2])
        return original(q, k, v)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    layer = MHSA(8, 2)
    for tokens in (63, 64, 65):
        layer(torch.randn(1, tokens, 8))
    assert calls == [64, 65]


def test_bf16_units_are_detected_as_a_plain_answer():
    assert attention.has_bf16_units() in (True, False)
    assert attention.has_bf16_units() is attention.has_bf16_units()


@pytest.mark.parametrize("kind", [MHSA, GPSA])
def test_width_that_does_not_split_is_refused(kind):
    with pytest.raises(ValueError, match=r"30.*4 heads"):
        kind(30, 4)


def test_projections_start_as_in_the_vit_authors_code():
    layer = MHSA(64, 4)
    for linear, (fan_out, fan_in) in ((layer.qkv, (192, 64)), (layer.proj, (64, 64))):
        limit = (6 / (fan_in + fan_out)) ** 0.5
        assert linear.weight.abs().max() <= limit
        assert linear.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
        assert not linear.bias.any()
