"""What is read from a cache of features is what the trunk gave, bit for bit."""

import json

import pytest
import torch

from hybridvit import create_backbone
from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.backbones.features import Features
from hybridvit.hydra.feature_cache import FeatureCache, FrozenTrunk
from hybridvit.hydra.hydranet import HydraNet, ViewFeatures

CPU = torch.device("cpu")
VIT = ViTConfig(embed_dim=12, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2))
RESNET = ResNetConfig(depths=(1, 1), width=4)


def check_equal(actual, expected):
    assert torch.equal(actual.tokens, expected.tokens)
    assert torch.equal(actual.prefix, expected.prefix)
    assert actual.grid == expected.grid
    for stride, value in actual.maps.items():
        assert torch.equal(value, expected.maps[stride])


@torch.no_grad()
def features(config, n=11):
    backbone = create_backbone(config, (6, 10), in_channels=1).eval()
    return backbone(torch.randn(n, 1, 6, 10))


def parts(whole, *sizes):
    start = 0
    for size in sizes:
        here = slice(start, start + size)
        yield Features(whole.tokens[here], whole.prefix[here], whole.grid, {s: m[here] for s, m in whole.maps.items()})
        start += size


@pytest.mark.parametrize(("config", "strides"), [(VIT, (2,)), (RESNET, (1, 2)), (RESNET, (2,)), (VIT, ())])
def test_features_read_back_as_they_were(tmp_path, config, strides):
    whole = features(config)
    cache = FeatureCache.write(tmp_path / "c", parts(whole, 7, 4), 11, strides=strides)
    index = torch.tensor([10, 0, 3, 3, 7])
    actual = cache.read(index, CPU)
    assert tuple(actual.maps) == strides
    picked = Features(
        whole.tokens[index], whole.prefix[index], whole.grid, {s: m[index] for s, m in whole.maps.items()}
    )
    check_equal(actual, picked)
    again = FeatureCache(tmp_path / "c")
    assert len(again) == 11
    check_equal(again.read(slice(2, 5), CPU), next(iter(list(parts(whole, 2, 3))[1:])))


def test_a_map_that_is_the_tokens_is_not_written_twice(tmp_path):
    whole = features(VIT)
    FeatureCache.write(tmp_path / "c", [whole], 11, strides=(2,))
    assert sorted(path.name for path in (tmp_path / "c").glob("*.npy")) == ["fused.prefix.npy", "fused.tokens.npy"]
    FeatureCache.write(tmp_path / "d", [features(RESNET)], 11, strides=(1, 2))
    assert "fused.map1.npy" in [path.name for path in (tmp_path / "d").glob("*.npy")]


def test_features_of_single_cameras_are_kept_beside_the_fused_ones(tmp_path):
    fused, left, right = features(VIT), features(VIT), features(RESNET)
    features_of_views = ViewFeatures(fused, {"left": left, "right": right})
    cache = FeatureCache.write(tmp_path / "c", [features_of_views], 11, views=("right",))
    actual = cache.read(slice(0, 11), CPU)
    assert set(actual.views) == {"right"}
    check_equal(actual.fused, fused)
    check_equal(actual.views["right"], right)


def test_an_interrupted_cache_is_none(tmp_path):
    def broken():
        yield from parts(features(VIT), 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache.write(tmp_path / "c", broken(), 11)
    with pytest.raises(ValueError, match="holds no features"):
        FeatureCache(tmp_path / "c")
    FeatureCache.write(tmp_path / "c", [features(VIT)], 11)
    assert json.loads((tmp_path / "c/cache.json").read_text())["samples"] == 11
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_fewer_features_than_announced_are_refused(tmp_path):
    with pytest.raises(ValueError, match="13 samples were announced, 11 came"):
        FeatureCache.write(tmp_path / "c", [features(VIT)], 13)


def test_heads_read_cached_features_in_place_of_a_trunk():
    whole = features(VIT)
    net = HydraNet(FrozenTrunk(), {"sum": torch.nn.Identity()})
    assert net(whole)["sum"] is whole
