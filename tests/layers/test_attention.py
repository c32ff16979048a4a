"""Attention of every kind: the fast paths against the explicit matrix, and plain attention against torch and timm."""

from functools import partial

import pytest
import torch
from torch import nn

from hybridvit.layers import GPSA, LSA, MHSA, PSA, RelativeBias, TalkingHeads, attention
from hybridvit.layers.attention import Kernel, attend, choose_kernel, merge_heads, split_heads

B, H, D = 2, 4, 7
GRIDS = [(3, 5), (7, 9), (4, 16), (7, 11)]  # 15, 63, 64 and 77 tokens: both sides of GPSA's threshold
OPTIONS = {
    "plain": {"qkv_bias": True},
    "no bias": {"qkv_bias": False},
    "qk_norm": {"qk_norm": True},
    "qk_scale": {"qk_scale": 0.7, "qkv_bias": True},
    "qk_norm, qk_scale": {"qk_norm": True, "qk_scale": 0.7},
}
# kind, options, whether there is a relative bias, number of prefix tokens
LAYERS = [
    (kind, options, relative, prefix)
    for kind in (MHSA, LSA, TalkingHeads)
    for options in OPTIONS
    for relative, prefix in ((False, 0), (False, 2), (True, 0), (True, 2))
] + [(kind, options, False, 0) for kind in (GPSA, PSA) for options in OPTIONS]
FEW = [case for case in LAYERS if case[1] in ("plain", "qk_norm, qk_scale")]

some_layers = pytest.mark.parametrize(("kind", "options", "relative", "prefix"), FEW)


def made(kind, options, relative, grid):
    """A layer, with a relative bias on another grid than the images' if asked: it must be resampled, too."""
    bias = {"bias": RelativeBias(H, (grid[0], grid[1] - 1))} if relative else {}
    return kind(H * D, H, **OPTIONS[options], **bias)


def tokens(prefix, grid, dtype=torch.float32):
    return torch.randn(B, prefix + grid[0] * grid[1], H * D, dtype=dtype)


def explicit(layer, x, grid):
    """The layer's output by way of its n x n matrix."""
    return layer.proj(merge_heads(layer.weights(x, grid) @ layer.values(x)))


@pytest.mark.parametrize(("kind", "options", "relative", "prefix"), LAYERS)
def test_explicit_matrix_times_values_is_forward(kind, options, relative, prefix, randomise):
    for grid in GRIDS:
        layer = randomise(made(kind, options, relative, grid))
        x = tokens(prefix, grid)
        weights, values = layer.weights(x, grid), layer.values(x)
        assert weights.shape == (B, H, x.shape[1], x.shape[1])
        assert values.shape == (B, H, x.shape[1], D)
        torch.testing.assert_close(explicit(layer, x, grid), layer(x, grid), rtol=0, atol=1e-5)


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
@some_layers
def test_bf16_autocast_is_near_the_explicit_matrix(
    kind, options, relative, prefix, grid, units, randomise, monkeypatch
):
    monkeypatch.setattr(attention, "BF16_UNITS", units)
    layer = randomise(made(kind, options, relative, grid), scale=0.2)
    x = tokens(prefix, grid)
    expected = explicit(layer, x, grid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x, grid)
    assert out.dtype == torch.bfloat16
    error = (out.float() - expected).abs().max() / expected.abs().max()
    limit = 0.06 if kind is PSA else 0.03  # its scores are tens, of which bf16 keeps eight digits
    assert error < limit, f"relative error {error}"


@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
@some_layers
def test_both_kernels_agree_in_value_and_gradient(kind, options, relative, prefix, grid, randomise, monkeypatch):
    layer = randomise(made(kind, options, relative, grid)).double()
    x = tokens(prefix, grid, torch.float64)
    readings = []
    for fused in (False, True):
        monkeypatch.setattr(attention, "choose_kernel", lambda *_, fused=fused: Kernel(fused, torch.float64))
        out = layer(x, grid)
        readings.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()))])
    torch.testing.assert_close(readings[0][0], explicit(layer, x, grid), rtol=1e-9, atol=1e-9)
    for (name, _), gradient in zip(layer.named_parameters(), readings[0][1:], strict=True):
        assert gradient.any(), f"{name} has no part in the result"
    for one, other in zip(*readings, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "options", "relative", "prefix"), [case for case in FEW if case[1] == "plain"])
def test_only_the_keys_and_queries_are_scaled(kind, options, relative, prefix, randomise):
    """q · k times s is what √s·q and √s·k give at a scale of 1; LSA starts its temperatures there."""
    grid, s = (3, 5), 0.7
    layer = made(kind, "qk_scale", relative, grid)
    x = tokens(prefix, grid)
    with torch.no_grad():
        layer.qkv.weight.normal_(std=0.3)
        folded = made(kind, options, relative, grid)
        folded.load_state_dict(layer.state_dict())
        folded.qkv.weight[: 2 * H * D] *= (s * D**0.5) ** 0.5
        if kind is LSA:
            assert layer.temperature.tolist() == pytest.approx([s] * H)
            folded.temperature.fill_(D**-0.5)
    torch.testing.assert_close(layer(x, grid), folded(x, grid), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.weights(x, grid), folded.weights(x, grid), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_qk_norm_equals_timm_with_the_same_weights(bias, randomise):
    theirs = pytest.importorskip("timm.layers").Attention
    theirs = randomise(
        theirs(H * D, H, qkv_bias=bias, qk_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)), scale=0.7
    )
    ours = MHSA(H * D, H, bias, qk_norm=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(B, 11, H * D)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [11, 71])
@pytest.mark.parametrize("bias", [True, False])
def test_mhsa_equals_torch_multihead_attention(number, bias, randomise):
    layer = randomise(MHSA(H * D, H, qkv_bias=bias))
    reference = nn.MultiheadAttention(H * D, H, bias=True, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(layer.qkv.weight)
        reference.in_proj_bias.copy_(layer.qkv.bias if bias else torch.zeros(3 * H * D))
        reference.out_proj.weight.copy_(layer.proj.weight)
        reference.out_proj.bias.copy_(layer.proj.bias)
    x = torch.randn(B, number, H * D)
    expected, weights = reference(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.weights(x), weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("kind", "relative"), [(MHSA, False), (MHSA, True), (LSA, False), (LSA, True), (GPSA, False)])
def test_rows_of_weights_are_distributions(kind, relative, options, randomise):
    layer = randomise(made(kind, options, relative, (3, 5)), scale=1.0)
    weights = layer.weights(tokens(0, (3, 5)), (3, 5))
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
    # twice the scale: [0, ln 9], and a bias of [ln 9, ln 3]: [ln 9, ln 27], so again 1/4 and 3/4
    bias = torch.tensor([[[9.0, 3.0]]]).log()
    twice = attend(q, k, v, Kernel(fused, torch.float32), scale=1.0, bias=bias)
    torch.testing.assert_close(twice, torch.tensor([[[[7.0, 0.75, 0, 0]]]]))
    only_scaled = attend(q, k, v, Kernel(fused, torch.float32), scale=1.0)
    torch.testing.assert_close(only_scaled, torch.tensor([[[[7.6, 0.9, 0, 0]]]]))


@pytest.mark.parametrize(
    ("device", "dtype", "tokens", "units", "expected"),
    [
        ("cuda", torch.bfloat16, 5, False, (True, torch.bfloat16)),
        ("cuda", torch.float32, 5, False, (True, torch.float32)),
        ("mps", torch.float16, 5, False, (True, torch.float16)),
        ("cpu", torch.float32, 48, True, (False, torch.float32)),
        ("cpu", torch.float32, 49, True, (True, torch.float32)),
        ("cpu", torch.float64, 48, False, (False, torch.float64)),
        ("cpu", torch.float64, 49, False, (True, torch.float64)),
        ("cpu", torch.bfloat16, 63, True, (False, torch.bfloat16)),
        ("cpu", torch.bfloat16, 699, True, (False, torch.bfloat16)),
        ("cpu", torch.bfloat16, 700, True, (True, torch.bfloat16)),
        ("cpu", torch.bfloat16, 48, False, (False, torch.float32)),
        ("cpu", torch.bfloat16, 49, False, (True, torch.float32)),
        ("cpu", torch.float16, 48, True, (False, torch.float32)),
        ("cpu", torch.float16, 49, True, (True, torch.float32)),
    ],
)
def test_kernel_table(device, dtype, tokens, units, expected, monkeypatch):
    monkeypatch.setattr(attention, "BF16_UNITS", units)
    assert choose_kernel(device, dtype, tokens) == expected


def test_fused_kernel_runs_from_49_tokens(monkeypatch):
    calls = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v, **options):
        calls.append(q.shape[-2])
        return original(q, k, v, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    layer = MHSA(8, 2)
    for number in (48, 49, 50):
        layer(torch.randn(1, number, 8))
    assert calls == [49, 50]


def test_bf16_units_are_detected_as_a_plain_answer():
    assert attention.has_bf16_units() in (True, False)
    assert attention.BF16_UNITS is attention.has_bf16_units()


@pytest.mark.parametrize("kind", [MHSA, GPSA, LSA, TalkingHeads])
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
