"""The pre-norm block, with and without stochastic depth."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from hybridvit.layers import GPSA, MHSA, MLP, Block

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
