"""Talking heads against timm's layer and against einsum over its definition."""

import pytest
import torch

from hybridvit.layers import MHSA, RelativeBias, TalkingHeads
from hybridvit.layers.talking_heads import exchange

B, H, D = 2, 3, 5


def set_plain(layer):
    """No exchange: each head keeps its scores and its weights."""
    with torch.no_grad():
        layer.mix_scores.weight.copy_(torch.eye(H))
        layer.mix_weights.weight.copy_(torch.eye(H))
        layer.mix_weights.bias.zero_()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 7, 71])
def test_equals_timm_with_the_same_weights(tokens, bias, randomise):
    cait = pytest.importorskip("timm.models.cait")
    theirs = randomise(cait.TalkingHeadAttn(H * D, H, qkv_bias=bias), scale=0.5).double()
    names = {
        "proj_l.weight": "mix_scores.weight",
        "proj_w.weight": "mix_weights.weight",
        "proj_w.bias": "mix_weights.bias",
    }
    state = {names.get(name, name): value for name, value in theirs.state_dict().items()}
    assert state.pop("proj_l.bias").abs().min() > 0  # not zero, yet it cancels in the softmax
    ours = TalkingHeads(H * D, H, bias).double()
    ours.load_state_dict(state)
    x = torch.randn(B, tokens, H * D, dtype=torch.float64)
    expected = theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-9)


def test_equals_the_definition_with_a_relative_bias(randomise):
    """The bias goes to the scores that the softmax sees, after the exchange."""
    grid, prefix, scale = (3, 5), 2, 0.7
    layer = randomise(TalkingHeads(H * D, H, qk_scale=scale, bias=RelativeBias(H, grid)), scale=0.5).double()
    x = torch.randn(B, prefix + 15, H * D, dtype=torch.float64)
    q, k, _ = layer.qkv(x).reshape(B, prefix + 15, 3, H, D).permute(2, 0, 3, 1, 4)
    scores = scale * torch.einsum("bhid,bhjd,gh->bgij", q, k, layer.mix_scores.weight)
    softmax = (scores + layer.bias(prefix + 15, grid)).softmax(-1)
    expected = torch.einsum("bhij,gh->bgij", softmax, layer.mix_weights.weight)
    expected = expected + layer.mix_weights.bias[:, None, None]
    torch.testing.assert_close(layer.weights(x, grid), expected, rtol=0, atol=1e-12)


def test_rows_sum_to_what_the_second_exchange_makes_of_ones(randomise):
    layer = randomise(TalkingHeads(H * D, H), scale=0.5)
    sums = layer.weights(torch.randn(B, 11, H * D)).sum(-1)
    expected = layer.mix_weights.weight.sum(1) + 11 * layer.mix_weights.bias
    torch.testing.assert_close(sums, expected[:, None].expand(B, H, 11), rtol=0, atol=1e-5)
    assert (expected - 1).abs().max() > 0.1


@pytest.mark.parametrize("qk_norm", [True, False])
def test_heads_that_keep_to_themselves_are_plain_attention(qk_norm, randomise):
    layer = randomise(TalkingHeads(H * D, H, qk_norm=qk_norm, bias=RelativeBias(H, (3, 5))))
    set_plain(layer)
    plain = MHSA(H * D, H, qk_norm=qk_norm, bias=RelativeBias(H, (3, 5)))
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if not name.startswith("mix_")})
    x = torch.randn(B, 17, H * D)
    torch.testing.assert_close(layer(x, (3, 5)), plain(x, (3, 5)), rtol=0, atol=1e-5)


def test_exchange_is_a_linear_layer_over_the_heads():
    heads, linear = torch.randn(2, 3, 5, 7), torch.nn.Linear(3, 3)
    expected = linear(heads.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(exchange(heads, linear.weight, linear.bias), expected, rtol=0, atol=1e-6)
    without = expected - linear.bias[:, None, None]
    torch.testing.assert_close(exchange(heads, linear.weight), without, rtol=0, atol=1e-6)


def test_gradients_against_finite_differences(randomise):
    layer = randomise(TalkingHeads(H * D, H, bias=RelativeBias(H, (2, 3)))).double()
    x = torch.randn(B, 7, H * D, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def run(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, (2, 3)))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, values, fast_mode=True)
