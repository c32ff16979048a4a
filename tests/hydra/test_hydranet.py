"""Many heads on one backbone."""

import pytest
import torch
from torch import nn

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.backbones.features import Features
from hybridvit.hydra.hydranet import HydraNet, ViewFeatures, split_features, spread_features, zero_features
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationHead

CONFIG = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2))


class DenseHead(nn.Module):
    """A head that reads the map instead of the tokens."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 2, 1)

    def forward(self, features):
        return self.conv(features.maps[2])


def net():
    backbone = create_backbone(CONFIG, image_size=(6, 10))
    kind, age = ClassificationHead(backbone.spec, 3), ClassificationHead(backbone.spec, 5)
    return HydraNet(backbone, {"kind": kind, "age": age, "mask": DenseHead()})


def test_every_head_answers_from_one_pass_of_the_backbone():
    model, passes = net(), []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    images = torch.randn(2, 3, 6, 10)
    predictions = model(images)
    assert len(passes) == 1
    shapes = {name: tuple(prediction.shape) for name, prediction in predictions.items()}
    assert shapes == {"kind": (2, 3), "age": (2, 5), "mask": (2, 2, 3, 5)}
    features = model.backbone(images)
    for name, head in model.heads.items():
        assert torch.equal(predictions[name], head(features))


def test_gradients_of_the_heads_add_up_in_the_backbone():
    model, images = net(), torch.randn(2, 3, 6, 10)
    shared = list(model.backbone.parameters())
    alone = [torch.autograd.grad(model(images)[name].sum(), shared, allow_unused=True) for name in ("kind", "mask")]
    predictions = model(images)
    together = torch.autograd.grad(predictions["kind"].sum() + predictions["mask"].sum(), shared)
    for first, second, both in zip(*alone, together, strict=True):
        parts = [part for part in (first, second) if part is not None]
        torch.testing.assert_close(sum(parts), both, rtol=1e-4, atol=1e-5)


def test_a_head_without_loss_gets_no_gradient():
    model = net()
    model(torch.randn(2, 3, 6, 10))["age"].sum().backward()
    assert all(p.grad is not None for p in model.heads["age"].parameters())
    assert all(p.grad is None for name in ("kind", "mask") for p in model.heads[name].parameters())


def test_parameters_are_named_by_task():
    names = set(net().state_dict())
    assert {"heads.kind.fc.weight", "heads.age.fc.bias", "heads.mask.conv.weight", "backbone.prefix"} <= names


def test_heads_come_and_go_and_the_others_stay_bit_for_bit():
    model, images = net().eval(), torch.randn(2, 3, 6, 10)
    before = model(images)
    model.add_head("new", ClassificationHead(model.backbone.spec, 7))
    after = model(images)
    assert list(after) == [*before, "new"]
    assert after["new"].shape == (2, 7)
    assert all(torch.equal(after[name], before[name]) for name in before)
    gone = model.remove_head("age")
    assert gone(model.features(images)).shape == (2, 5)
    assert set(model(images)) == {"kind", "mask", "new"}
    assert set(model.read(model.features(images), ["mask"])) == {"mask"}


def test_a_second_look_at_a_batch_is_not_counted_by_batch_norms():
    backbone = create_backbone(ResNetConfig(depths=(1,), width=4), image_size=(6, 10))
    model = HydraNet(backbone, {"kind": ClassificationHead(backbone.spec, 3)}).train()
    images = torch.randn(5, 3, 6, 10)
    first = model(images)["kind"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with model.frozen_batch_norm():
        assert torch.equal(model(images)["kind"], first)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model(images)
    assert not torch.equal(model.backbone.bn1.running_mean, before["backbone.bn1.running_mean"])


def test_names_that_cannot_be_heads_are_refused():
    model = net()
    with pytest.raises(ValueError, match="there is a head 'kind' already; the heads are kind, age, mask"):
        model.add_head("kind", DenseHead())
    with pytest.raises(ValueError, match="there is no head 'knd'; the heads are kind, age, mask"):
        model.remove_head("knd")
    for name in ("keys", "a.b", ""):
        with pytest.raises(ValueError, match=f"a head cannot be called '{name}'"):
            model.add_head(name, DenseHead())
        with pytest.raises(ValueError, match=f"a head cannot be called '{name}'"):
            HydraNet(model.backbone, {name: DenseHead()})


def test_a_head_may_read_one_camera():
    spec = create_backbone(CONFIG, image_size=(6, 10)).spec

    def features(n):
        return Features(torch.full((2, n, spec.embed_dim), float(n)), torch.zeros(2, 0, spec.embed_dim), (1, n), {})

    class Mean(nn.Module):
        def forward(self, features):
            return features.tokens.mean(dim=(1, 2))

    class Cameras(nn.Module):
        def forward(self, images, present=None):
            return ViewFeatures(features(3), {"left": features(5), "right": features(7)})

    model = HydraNet(Cameras(), {"all": Mean(), "left": Mean()}, {"left": "left"})
    model.add_head("right", Mean(), "right")
    actual = model({"left": torch.zeros(1), "right": torch.zeros(1)})
    assert {name: value[0].item() for name, value in actual.items()} == {"all": 3, "left": 5, "right": 7}


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
