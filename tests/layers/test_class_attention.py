"""Class attention against timm's block and against plain attention's first row."""

import pytest
import torch

from hybridvit.layers import MHSA, ClassAttention, ClassAttentionBlock
from hybridvit.layers.attention import Kernel

B, H, D = 2, 3, 5
DIM = H * D


def copied(theirs, bias):
    """timm's state dict for a block of ours."""
    state = {}
    for name, value in theirs.state_dict().items():
        name = name.replace("attn.", "attention.").replace("mlp.", "feedforward.")
        state[name.replace("gamma_", "scale")] = value
    for part in ("weight", "bias") if bias else ("weight",):
        pair = [state.pop(f"attention.{name}.{part}") for name in "kv"]
        state[f"attention.kv.{part}"] = torch.cat(pair)
    return state


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 11, 71])
def test_block_equals_timm_with_the_same_weights(tokens, bias, randomise):
    cait = pytest.importorskip("timm.models.cait")
    theirs = randomise(cait.LayerScaleBlockClassAttn(DIM, H, mlp_ratio=1.4, qkv_bias=bias), scale=0.5)
    ours = ClassAttentionBlock(DIM, H, 21, bias, layer_scale=0.1, norm_eps=1e-5)
    ours.load_state_dict(copied(theirs, bias))
    token, patches = torch.randn(B, 1, DIM), torch.randn(B, tokens, DIM)
    expected = theirs(patches, token)
    assert (expected - token).std() > 0.1
    torch.testing.assert_close(ours(token, patches), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_the_first_row_of_self_attention(fused, randomise, monkeypatch):
    monkeypatch.setattr("hybridvit.layers.class_attention.choose_kernel", lambda *_: Kernel(fused, torch.float32))
    layer, whole = randomise(ClassAttention(DIM, H)), MHSA(DIM, H)
    with torch.no_grad():
        whole.qkv.weight.copy_(torch.cat([layer.q.weight, layer.kv.weight]))
        whole.qkv.bias.copy_(torch.cat([layer.q.bias, layer.kv.bias]))
        whole.proj.load_state_dict(layer.proj.state_dict())
    x = torch.randn(B, 11, DIM)
    out = layer(x)
    assert out.shape == (B, 1, DIM)
    torch.testing.assert_close(out, whole(x)[:, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_layer_scale_starts_as_told(scale):
    block = ClassAttentionBlock(DIM, H, 7, layer_scale=scale)
    names = {name for name, _ in block.named_parameters()}
    assert {"scale1", "scale2"} & names == (set() if scale is None else {"scale1", "scale2"})
    for factor in (block.scale1, block.scale2):
        assert factor is None if scale is None else factor.tolist() == pytest.approx([scale] * DIM)


def test_without_layer_scale_is_with_factors_of_one(randomise):
    plain, scaled = ClassAttentionBlock(DIM, H, 7), ClassAttentionBlock(DIM, H, 7, layer_scale=1.0)
    scaled.load_state_dict(randomise(plain).state_dict(), strict=False)
    token, patches = torch.randn(B, 1, DIM), torch.randn(B, 11, DIM)
    torch.testing.assert_close(plain(token, patches), scaled(token, patches))
    for name in ("scale1", "scale2"):
        changed = ClassAttentionBlock(DIM, H, 7, layer_scale=1.0)
        changed.load_state_dict(scaled.state_dict())
        with torch.no_grad():
            getattr(changed, name).fill_(0.5)
        assert not torch.allclose(plain(token, patches), changed(token, patches), atol=1e-3)


def test_the_small_number_in_both_norms_is_the_one_given():
    block = ClassAttentionBlock(DIM, H, 7, norm_eps=0.5)
    assert (block.norm1.eps, block.norm2.eps) == (0.5, 0.5)
    default = ClassAttentionBlock(DIM, H, 7)
    assert (default.norm1.eps, default.norm2.eps) == (1e-6, 1e-6)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_bf16_autocast_is_near_fp32_and_float64_works(scale, randomise):
    block = randomise(ClassAttentionBlock(DIM, H, 7, layer_scale=scale))
    token, patches = torch.randn(B, 1, DIM), torch.randn(B, 11, DIM)
    expected = block(token, patches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = block(token, patches)
    assert (out.float() - expected).abs().max() / expected.abs().max() < 0.03
    exact = block.double()(token.double(), patches.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), expected, rtol=0, atol=1e-5)


def test_every_parameter_and_token_has_a_part(randomise):
    block = randomise(ClassAttentionBlock(DIM, H, 7, layer_scale=0.3))
    token, patches = torch.randn(B, 1, DIM, requires_grad=True), torch.randn(B, 11, DIM, requires_grad=True)
    block(token, patches).square().sum().backward()
    assert all(parameter.grad.any() for parameter in block.parameters())
    assert (patches.grad.abs().sum(-1) > 0).all()
    assert (token.grad.abs().sum(-1) > 0).all()


def test_width_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match=r"width of 30 cannot be split over 4 heads"):
        ClassAttention(30, 4)
