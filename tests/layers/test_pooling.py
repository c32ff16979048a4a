"""How tokens become one vector."""

import math

import pytest
import torch

from hybridvit.layers import ClassTokenPool, MeanPool, SequencePool


def test_class_token_pool_takes_the_first_prefix_token():
    tokens, prefix = torch.randn(2, 15, 7), torch.randn(2, 3, 7)
    assert torch.equal(ClassTokenPool()(tokens, prefix), prefix[:, 0])


def test_mean_pool_by_hand():
    tokens = torch.tensor([[[1.0, 2], [3, 4], [8, 0]], [[0, 0], [0, 3], [0, 0]]])
    expected = torch.tensor([[4.0, 2], [0, 1]])
    torch.testing.assert_close(MeanPool()(tokens, torch.full((2, 1, 2), 100.0)), expected)


def test_sequence_pool_by_hand():
    """Scores of ln 1, ln 2 and ln 5 in the first channel: the mean with weights 1/8, 2/8 and 5/8."""
    pool = SequencePool(2)
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.score.bias.fill_(7.0)  # the same for all tokens: it cancels
    tokens = torch.tensor([[[0.0, 8], [math.log(2), 16], [math.log(5), -8]], [[0, 3], [0, 6], [0, 0]]])
    first = (2 * math.log(2) + 5 * math.log(5)) / 8
    expected = torch.tensor([[first, (8 + 2 * 16 - 5 * 8) / 8], [0, 3]])
    torch.testing.assert_close(pool(tokens, torch.full((2, 1, 2), 100.0)), expected)


@pytest.mark.parametrize("n", [1, 15])
def test_sequence_pool_by_loop(n, randomise):
    pool = randomise(SequencePool(7), scale=1.0).double()
    tokens = torch.randn(2, n, 7, dtype=torch.float64)
    out = pool(tokens, tokens[:, :0])
    assert out.shape == (2, 7)
    for sample in range(2):
        shares = [math.exp((pool.score.weight[0] @ token + pool.score.bias[0]).item()) for token in tokens[sample]]
        expected = sum(share * token for share, token in zip(shares, tokens[sample], strict=True)) / sum(shares)
        torch.testing.assert_close(out[sample], expected)
    if n > 1:
        assert not torch.allclose(out, tokens.mean(1), atol=1e-2)


def test_sequence_pool_learns_and_runs_in_bf16(randomise):
    pool = randomise(SequencePool(7))
    tokens = torch.randn(2, 15, 7)
    pool(tokens, tokens[:, :0]).square().sum().backward()
    assert (pool.score.weight.grad.abs() > 0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = pool(tokens, tokens[:, :0])
    torch.testing.assert_close(out.float(), pool(tokens, tokens[:, :0]), rtol=0, atol=0.03)
