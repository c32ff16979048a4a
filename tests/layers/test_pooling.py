"""How tokens become one vector."""

import torch

from hybridvit.layers import ClassTokenPool, MeanPool


def test_class_token_pool_takes_the_first_prefix_token():
    tokens, prefix = torch.randn(2, 15, 7), torch.randn(2, 3, 7)
    assert torch.equal(ClassTokenPool()(tokens, prefix), prefix[:, 0])


def test_mean_pool_by_hand():
    tokens = torch.tensor([[[1.0, 2], [3, 4], [8, 0]], [[0, 0], [0, 3], [0, 0]]])
    expected = torch.tensor([[4.0, 2], [0, 1]])
    torch.testing.assert_close(MeanPool()(tokens, torch.full((2, 1, 2), 100.0)), expected)
