"""The block: its two branches and residuals, their factors, and stochastic depth."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from hybridvit.layers import GPSA, MHSA, MLP, Block, ConvFeedForward

B, GRID, DIM = 2, (3, 5), 28


@pytest.mark.parametrize("kind", [MHSA, GPSA])
def test_block_is_two_residual_branches_of_normalised_input(kind, randomise):
    block = randomise(Block(DIM, kind(DIM, 4), MLP(DIM, 11)))
    x = torch.randn(B, 15, DIM)
    normed = F.layer_norm(x, (DIM,), block.norm1.weight, block.norm1.bias, eps=1e-6)
    middle = x + block.attention(normed, GRID)
    normed = F.layer_norm(middle, (DIM,), block.norm2.weight, block.norm2.bias, eps=1e-6)
    torch.testing.assert_close(block(x, GRID), middle + block.feedforward(normed, GRID), rtol=0, atol=1e-5)


def test_stochastic_depth_skips_each_branch_of_each_sample_alone(randomise):
    p, samples = 0.25, 401
    block = randomise(Block(DIM, MHSA(DIM, 4), MLP(DIM, 11), drop_path=p))
    x = torch.randn(samples, 5, DIM)
    out = block(x, (1, 5))
    found = torch.full((samples,), -1)
    for number, (first, second) in enumerate(itertools.product((0, 1), repeat=2)):
        middle = x + first / (1 - p) * block.attention(block.norm1(x), (1, 5))
        expected = middle + second / (1 - p) * block.feedforward(block.norm2(middle), (1, 5))
        found[(out - expected).abs().amax(dim=(1, 2)) < 1e-4] = number
    assert (found >= 0).all()  # every sample is one of the four
    shares = torch.bincount(found, minlength=4) / samples
    torch.testing.assert_close(shares, torch.tensor([1, 3, 3, 9]) / 16, rtol=0, atol=0.08)


def test_stochastic_depth_is_off_in_evaluation(randomise):
    block = randomise(Block(DIM, MHSA(DIM, 4), MLP(DIM, 11), drop_path=0.5))
    plain = Block(DIM, MHSA(DIM, 4), MLP(DIM, 11))
    plain.load_state_dict(block.state_dict())
    x = torch.randn(B, 15, DIM)
    assert torch.equal(block.eval()(x, GRID), plain(x, GRID))
    assert not torch.equal(block.train()(x, GRID), plain(x, GRID))


def normed(x, norm, eps):
    """Layer norm, spelt out."""
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("eps", [1e-6, 1e-5, 0.5])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("residual", ["input", "normalised"])
@pytest.mark.parametrize("kind", [MLP, ConvFeedForward])
def test_block_by_formula(kind, residual, scale, eps, randomise):
    """Both factors, what the second branch is added to, and the small number in the norms."""
    block = Block(DIM, MHSA(DIM, 4), kind(DIM, 11), layer_scale=scale, mlp_residual=residual, norm_eps=eps)
    block = randomise(block).double().eval()
    x = torch.randn(B, 15, DIM, dtype=torch.float64)
    one, two = (1.0, 1.0) if scale is None else (block.scale1, block.scale2)
    middle = x + one * block.attention(normed(x, block.norm1, eps), GRID)
    inner = normed(middle, block.norm2, eps)
    start = middle if residual == "input" else inner
    expected = start + two * block.feedforward(inner, GRID)
    torch.testing.assert_close(block(x, GRID), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [0.1, 1e-5])
def test_layer_scale_starts_as_told(scale):
    block = Block(DIM, MHSA(DIM, 4), MLP(DIM, 11), layer_scale=scale)
    for factors in (block.scale1, block.scale2):
        assert factors.tolist() == pytest.approx([scale] * DIM)
        assert factors.requires_grad
    assert {"scale1", "scale2"} <= set(block.state_dict())
    assert not {"scale1", "scale2"} & set(Block(DIM, MHSA(DIM, 4), MLP(DIM, 11)).state_dict())
    block(torch.randn(B, 15, DIM), GRID).square().sum().backward()
    assert all(parameter.grad.any() for parameter in (block.scale1, block.scale2))


@pytest.mark.parametrize("residual", ["input", "normalised"])
def test_stochastic_depth_scales_and_skips_whole_branches(residual, randomise):
    """With factors, too: a sample that skips the second branch keeps what that branch is added to."""
    p, samples = 0.25, 401
    block = randomise(
        Block(DIM, MHSA(DIM, 4), MLP(DIM, 11), drop_path=p, layer_scale=0.1, mlp_residual=residual), scale=0.7
    )
    x = torch.randn(samples, 5, DIM)
    out = block(x, (1, 5))
    counts = []
    for first, second in itertools.product((0, 1), repeat=2):
        middle = x + first / (1 - p) * block.scale1 * block.attention(block.norm1(x), (1, 5))
        inner = block.norm2(middle)
        start = middle if residual == "input" else inner
        expected = start + second / (1 - p) * block.scale2 * block.feedforward(inner, (1, 5))
        counts.append(((out - expected).abs().amax(dim=(1, 2)) < 1e-4).sum().item())
    assert sum(counts) == samples
    shares = torch.tensor(counts) / samples
    torch.testing.assert_close(shares, torch.tensor([1, 3, 3, 9]) / 16, rtol=0, atol=0.08)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("residual", ["input", "normalised"])
def test_bf16_autocast_is_near_fp32(residual, scale, randomise):
    block = randomise(Block(DIM, MHSA(DIM, 4), MLP(DIM, 11), layer_scale=scale, mlp_residual=residual), scale=0.2)
    x = torch.randn(B, 15, DIM)
    expected = block(x, GRID)
    for stream in (x, x.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = block(stream, GRID)
        assert (out.float() - expected).abs().max() / expected.abs().max() < 0.03
