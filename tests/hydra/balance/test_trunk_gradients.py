"""The trunk's parameters by stage, inner products of the tasks' gradients, and their cosines stage by stage."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.hydra.balance.trunk_gradients import gradient_cosines, gramian, stages
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationHead

PRESENT, ABSENT = torch.tensor(True), torch.tensor(False)


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Parameter(torch.zeros(2))
        self.norm = nn.Parameter(torch.zeros(1))
        self.layer1 = nn.Linear(2, 1)

    def parameter_layers(self):
        return [("conv", "norm"), ("layer1",)]


def test_by_hand():
    net = HydraNet(Trunk(), {})
    conv, norm, layer = net.backbone.conv, net.backbone.norm, net.backbone.layer1
    losses = {
        "a": 3 * conv[0] + 4 * norm[0] + layer.bias[0],
        "b": 5 * conv[0] + layer.weight[0, 0],
        "c": -2 * norm[0] - layer.bias[0] - layer.weight[0, 0],
    }
    actual = gradient_cosines(losses, dict.fromkeys(losses, PRESENT), net)
    assert actual.tasks == ("a", "b", "c")
    assert actual.stages == ("stem", "layer1")
    np.testing.assert_allclose(actual.cosines[0], [[1, 0.6, -0.8], [0.6, 1, 0], [-0.8, 0, 1]], atol=1e-6)
    half = -(0.5**0.5)
    np.testing.assert_allclose(actual.cosines[1], [[1, 0, half], [0, 1, half], [half, half, 1]], atol=1e-6)


def test_absent_tasks_and_zero_gradients_have_no_cosine():
    net = HydraNet(Trunk(), {})
    conv, bias = net.backbone.conv, net.backbone.layer1.bias
    losses = {"a": conv[0] + bias[0], "absent": conv[1] + bias[0], "b": conv[0] - conv[1]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = gradient_cosines(losses, {"a": PRESENT, "absent": ABSENT, "b": PRESENT}, net).cosines
    assert np.isnan(actual[:, 1]).all()
    assert np.isnan(actual[:, :, 1]).all()
    assert actual[0, 0, 2] == pytest.approx(0.5**0.5)
    assert np.isnan(actual[1, 2]).all(), "b does not reach the last stage"
    assert actual[1, 0, 0] == 1


@pytest.fixture
def net(randomise):
    config = ViTConfig(embed_dim=8, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    backbone = create_backbone(config, image_size=(6, 10))
    return randomise(
        HydraNet(
            backbone, {name: ClassificationHead(backbone.spec, k) for name, k in zip("abc", (3, 5, 7), strict=True)}
        )
    )


def losses_of(net, images):
    return {name: (prediction**2).mean() for name, prediction in net(images).items()}


def test_against_float64_one_stage_at_a_time(net):
    images = torch.randn(5, 3, 6, 10)
    actual = gradient_cosines(losses_of(net, images), dict.fromkeys("abc", PRESENT), net)
    assert actual.stages == ("stem", "blocks.0", "blocks.1", "norm")
    net.double()
    parts = {
        "stem": [p for n, p in net.backbone.named_parameters() if not n.startswith(("blocks", "norm"))],
        "blocks.0": list(net.backbone.blocks[0].parameters()),
        "blocks.1": list(net.backbone.blocks[1].parameters()),
        "norm": list(net.backbone.norm.parameters()),
    }
    for stage, parameters in parts.items():
        flat = []
        for loss in losses_of(net, images.double()).values():
            grads = torch.autograd.grad(loss, parameters, retain_graph=True)
            flat.append(torch.cat([g.flatten() for g in grads]))
        expected = torch.nn.functional.cosine_similarity(torch.stack(flat)[:, None], torch.stack(flat)[None], dim=-1)
        np.testing.assert_allclose(actual.cosines[actual.stages.index(stage)], expected.numpy(), atol=1e-5)


def test_training_goes_on_with_the_same_losses(net):
    images = torch.randn(5, 3, 6, 10)
    losses = losses_of(net, images)
    gradient_cosines(losses, dict.fromkeys("abc", PRESENT), net)
    assert all(p.grad is None for p in net.parameters())
    sum(losses.values()).backward()
    actual = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    sum(losses_of(net, images).values()).backward()
    assert all(torch.equal(one, p.grad) for one, p in zip(actual, net.parameters(), strict=True))


def test_frozen_stages_are_left_out(net):
    net.backbone.blocks[0].requires_grad_(False)
    actual = gradient_cosines(losses_of(net, torch.randn(2, 3, 6, 10)), dict.fromkeys("abc", PRESENT), net)
    assert actual.stages == ("stem", "blocks.1", "norm")
    assert actual.cosines.shape == (3, 3, 3)


def test_inner_products_of_gradients_longer_than_a_chunk(monkeypatch):
    monkeypatch.setattr("hybridvit.hydra.balance.trunk_gradients.CHUNK", 7)
    rows = [[torch.randn(5, 3), torch.randn(2) if row != 1 else None, torch.randn(7)] for row in range(3)]
    whole = torch.stack([torch.cat([torch.zeros(2) if g is None else g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(gramian(rows), (whole @ whole.T).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet16_8", "cct_7_3x1", "convit_tiny", "hybrid_r_tiny"])
def test_stages_hold_every_parameter_once(name):
    backbone = create_backbone(name, image_size=32)
    actual = stages(backbone)
    assert next(iter(actual)) == "stem"
    assert all(len(stage) <= 12 for stage in actual)
    members = [id(p) for group in actual.values() for p in group]
    assert sorted(members) == sorted(id(p) for p in backbone.parameters())
