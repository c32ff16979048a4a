"""How methods on gradients compare them: which tasks, how often, where, and what happens if a solver fails."""

import copy
import warnings

import pytest
import torch
from torch import nn

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.backbones.features import Features
from hybridvit.hydra.balance.gradients import FeatureTap
from hybridvit.hydra.balance.kinds import (
    CAGradConfig,
    MGDAConfig,
    PCGradConfig,
    UPGradConfig,
)
from hybridvit.hydra.balance.trunk_gradients import gramian
from hybridvit.hydra.hydranet import HydraNet, ViewFeatures
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationHead

NAMES = ("a", "b", "c", "d")
PRESENT = dict.fromkeys(NAMES, torch.tensor(True))


def test_an_absent_task_fed_in_as_a_zero_loss_would_stop_mgda_but_this_one_goes_on(linear):
    rows = linear.jacobian(0)
    rows[1] = 0
    assert float(linear.update(MGDAConfig(), rows).norm()) == pytest.approx(0, abs=1e-9)
    net = linear.net()
    losses, balance = linear.losses(net, rows), MGDAConfig().build(NAMES)
    balance.backward(losses, PRESENT | {"b": torch.tensor(False)}, net, torch.Tensor.backward)
    actual = torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])
    torch.testing.assert_close(actual, linear.update(MGDAConfig(), rows[[0, 2, 3]]))
    assert float(actual.norm()) > 0.1
    assert net.heads["b"].own.grad is None
    assert balance.weights().keys() == {"a", "c", "d"}


def test_comparing_every_third_update_keeps_the_weights_between(linear):
    config = UPGradConfig(every=3)
    balance = config.build(NAMES)
    matrices = [linear.jacobian(seed) for seed in range(5)]
    actual = [linear.update(config, rows, balance) for rows in matrices]
    fresh = [linear.update(UPGradConfig(), rows) for rows in matrices]
    torch.testing.assert_close(actual[0], fresh[0])
    torch.testing.assert_close(actual[3], fresh[3])
    for between, last in ((1, 0), (2, 0), (4, 3)):
        weights = UPGradConfig().weighting()(matrices[last] @ matrices[last].T)
        torch.testing.assert_close(actual[between], weights @ matrices[between])
        assert not torch.allclose(actual[between], fresh[between], rtol=1e-3)


def test_a_change_of_the_present_tasks_compares_anew(linear):
    balance, rows = UPGradConfig(every=9).build(NAMES), linear.jacobian(0)
    net = linear.net()
    for present in (PRESENT, PRESENT | {"b": torch.tensor(False)}):
        net.zero_grad()
        balance.backward(linear.losses(net, rows), present, net, torch.Tensor.backward)
    actual = torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])
    torch.testing.assert_close(actual, linear.update(UPGradConfig(), rows[[0, 2, 3]]))


def test_a_failing_solver_is_a_plain_sum_and_one_warning(monkeypatch, linear):
    rows, balance = linear.jacobian(0), CAGradConfig().build(NAMES)

    def fail(products):
        raise RuntimeError("no\nsolution")

    monkeypatch.setattr(balance, "weighting", fail)
    with pytest.warns(UserWarning, match="balance cagrad: RuntimeError: no solution; a plain sum for this update"):
        torch.testing.assert_close(linear.update(None, rows, balance), rows.sum(dim=0))
    monkeypatch.setattr(balance, "weighting", lambda products: products[0] * torch.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(linear.update(None, rows, balance), rows.sum(dim=0))


def test_a_gradient_that_is_not_finite_is_let_through_and_named(linear):
    rows = linear.jacobian(0)
    rows[2, 3] = torch.nan
    with pytest.warns(UserWarning, match="balance upgrad: a gradient is not finite"):
        actual = linear.update(UPGradConfig(), rows)
    assert actual.isnan().tolist() == [place == 3 for place in range(11)]


def test_a_frozen_trunk_is_refused(linear):
    net = linear.net()
    net.backbone.requires_grad_(False)
    losses = {name: head.own.sum() for name, head in net.heads.items()}
    with pytest.raises(ValueError, match="pcgrad has no effect: nothing in the trunk is trained"):
        PCGradConfig().build(NAMES).backward(losses, PRESENT, net, torch.Tensor.backward)


def test_gradients_are_laid_out_as_their_parameters(linear):
    net = linear.net()
    net.backbone.two.data = torch.zeros(3, 2, dtype=torch.float64).T
    PCGradConfig().build(NAMES).backward(linear.losses(net, linear.jacobian(0)), PRESENT, net, torch.Tensor.backward)
    assert net.backbone.two.grad.stride() == net.backbone.two.stride() == (1, 2)


class MapHead(nn.Module):
    """Reads the map of the tokens, where the others read the class token."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 2, 1, dtype=torch.float64)

    def forward(self, features):
        return self.conv(features.maps[2]).mean(dim=(2, 3)) + features.tokens.mean(dim=(1, 2))[:, None]


@pytest.fixture
def vit(randomise):
    config = ViTConfig(embed_dim=8, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    backbone = create_backbone(config, image_size=(6, 10))
    heads = {"a": ClassificationHead(backbone.spec, 3), "b": ClassificationHead(backbone.spec, 5), "c": MapHead()}
    return randomise(HydraNet(backbone, heads)).double()


def vit_losses(net, images):
    return {name: (prediction**2).mean() for name, prediction in net(images).items()}


@pytest.mark.parametrize("config", [MGDAConfig(at="features"), UPGradConfig(at="features")], ids=lambda c: c.kind)
def test_at_features_the_weights_are_those_of_the_features_gradients(config, vit):
    images = torch.randn(5, 3, 6, 10, dtype=torch.float64)
    features = vit.backbone(images)
    # leaves in place of the features, so that tokens and their map do not overlap
    leaves = [features.tokens.detach(), features.prefix.detach(), features.maps[2].detach()]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    cut = features._replace(tokens=leaves[0], prefix=leaves[1], maps={2: leaves[2]})
    rows = []
    for head in vit.heads.values():
        actual = torch.autograd.grad((head(cut) ** 2).mean(), leaves, allow_unused=True)
        parts = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(actual, leaves, strict=True)]
        rows.append(torch.cat([part.flatten() for part in parts]))
    exact = type(config)()
    weights = exact.weighting()(torch.stack(rows) @ torch.stack(rows).T)
    losses = vit_losses(vit, images)
    shared = list(vit.backbone.parameters())
    total = sum(w * loss for w, loss in zip(weights.tolist(), losses.values(), strict=True))
    expected = torch.autograd.grad(total, shared, retain_graph=True)
    own = torch.autograd.grad(sum(losses.values()), list(vit.heads.parameters()))

    balance = config.build(tuple(vit.heads), net=vit)
    losses = vit_losses(vit, images)
    balance.backward(losses, {name: PRESENT[name] for name in losses}, vit, torch.Tensor.backward)
    torch.testing.assert_close([p.grad for p in shared], list(expected))
    torch.testing.assert_close([p.grad for p in vit.heads.parameters()], list(own))
    assert list(balance.weights().values()) == pytest.approx(weights.tolist())


def test_at_features_predictions_stay_and_evaluation_is_not_watched(vit):
    images = torch.randn(5, 3, 6, 10, dtype=torch.float64)
    before = vit(images)
    balance = PCGradConfig(at="features").build(tuple(vit.heads), net=vit)
    after = vit(images)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(balance.tap.take()) == 3
    with torch.no_grad():
        vit(images)
    assert balance.tap.take() == []


def test_a_copy_of_a_watched_net_sees_its_own_features(vit):
    images = torch.randn(5, 3, 6, 10, dtype=torch.float64)
    balance = PCGradConfig(at="features").build(tuple(vit.heads), net=vit)
    vit(images)
    other = copy.deepcopy(vit)
    other(images)
    (tap,) = other.backbone._forward_hooks.values()
    assert tap is not balance.tap
    assert len(tap.take()) == len(balance.tap.take()) == 3


def test_the_features_of_every_camera_are_held():
    x = [torch.randn(2, 3, 5, requires_grad=True) for _ in range(3)]
    fixed = torch.randn(2, 0, 5)
    fused, front = Features(x[0], fixed, (1, 3), {}), Features(x[1], fixed, (1, 3), {4: x[2]})
    tap = FeatureTap()
    actual = tap(None, None, ViewFeatures(fused, {"front": front}))
    assert isinstance(actual, ViewFeatures)
    assert isinstance(actual.fused, Features)
    expected = [actual.fused.tokens, actual.views["front"].tokens, actual.views["front"].maps[4]]
    assert all(one is other for one, other in zip(tap.take(), expected, strict=True))
    assert actual.fused.prefix is fixed
    assert actual.fused.grid == (1, 3)


def test_at_features_needs_the_net():
    with pytest.raises(ValueError, match=r"balance mgda at features needs the net"):
        MGDAConfig(at="features").build(NAMES)


def test_a_sample_unlabelled_for_one_task_changes_only_the_others_rows(vit):
    images = torch.randn(5, 3, 6, 10, dtype=torch.float64)
    shared = list(vit.backbone.parameters())

    def rows(count, without=None):
        losses = {}
        for name, prediction in vit(images[:count]).items():
            labelled = prediction[: count - 1] if name == without else prediction
            losses[name] = (labelled**2).mean()
        return gramian([torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()])

    fewer, more = rows(4), rows(5, without="b")
    assert float(more[1, 1]) == pytest.approx(float(fewer[1, 1]), rel=1e-9)
    assert float(more[0, 0]) != pytest.approx(float(fewer[0, 0]), rel=1e-3)
