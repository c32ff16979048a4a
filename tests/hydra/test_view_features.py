"""Features of several cameras, taken apart and put in their rows."""

import torch

from hybridvit.backbones import ResNetConfig
from hybridvit.backbones.features import Features
from hybridvit.hydra.hydranet import split_features, spread_features, zero_features
from hybridvit.models import create_backbone


def features(batch):
    maps = {1: torch.randn(batch, 2, 4, 6), 2: torch.randn(batch, 5, 2, 3)}
    return Features(torch.randn(batch, 6, 5), torch.randn(batch, 1, 5), (2, 3), maps)


def test_a_batch_of_two_cameras_is_taken_apart():
    both = features(5)
    parts = split_features(both, {"front": 2, "rear": 3})
    assert list(parts) == ["front", "rear"]
    for view, rows in (("front", slice(0, 2)), ("rear", slice(2, 5))):
        assert parts[view].grid == (2, 3)
        assert torch.equal(parts[view].tokens, both.tokens[rows])
        assert torch.equal(parts[view].prefix, both.prefix[rows])
        assert all(torch.equal(parts[view].maps[stride], x[rows]) for stride, x in both.maps.items())


def test_samples_return_to_their_rows_with_zeros_between():
    some, rows = features(2), torch.tensor([3, 1])
    whole = spread_features(some, rows, 4)
    for x, spread in ((some.tokens, whole.tokens), (some.prefix, whole.prefix), (some.maps[2], whole.maps[2])):
        assert torch.equal(spread[rows], x)
        assert not spread[[0, 2]].any()
    assert spread_features(some, None, 2) is some


def test_zeros_have_the_shapes_of_the_backbones_features():
    backbone = create_backbone(ResNetConfig(depths=(1, 1), width=4), (7, 9))
    expected, zeros = backbone(torch.randn(3, 3, 7, 9)), zero_features(backbone.spec, (7, 9), 3, torch.ones(1).double())
    assert zeros.grid == expected.grid
    assert zeros.tokens.dtype == torch.float64
    assert {stride: x.shape for stride, x in zeros.maps.items()} == {s: x.shape for s, x in expected.maps.items()}
    assert (zeros.tokens.shape, zeros.prefix.shape) == (expected.tokens.shape, expected.prefix.shape)
    assert not zeros.tokens.any()
