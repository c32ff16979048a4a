"""Methods on the tasks' gradients, against slow independent versions in float64 on the whole matrix of gradients."""

import copy
import warnings

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.backbones.features import Features
from hybridvit.hydra.balance.gradients import FeatureTap
from hybridvit.hydra.balance.kinds import (
    AlignedMTLConfig,
    CAGradConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
    UPGradConfig,
)
from hybridvit.hydra.balance.trunk_gradients import gramian
from hybridvit.hydra.hydranet import HydraNet, ViewFeatures
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationHead

NAMES = ("a", "b", "c", "d")
HERE = dict.fromkeys(NAMES, torch.tensor(True))


class Trunk(nn.Module):
    """Eleven numbers in two tensors, and one tensor that no loss reaches."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.zeros(5, dtype=torch.float64))
        self.two = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(7, dtype=torch.float64))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.zeros(3, dtype=torch.float64))


def jacobian(seed, tasks=4, conflict=True):
    """Gradients of tasks as rows, ``[t, 11]``."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, 11, generator=generator, dtype=torch.float64)
    return rows * torch.arange(1, tasks + 1)[:, None] if conflict else rows.abs()


def linear_losses(net, rows):
    """One loss for each row, whose gradient in the trunk is the row and in its head is 1."""
    trunk = torch.cat([net.backbone.one, net.backbone.two.flatten()])
    return {name: trunk @ row + net.heads[name].own.sum() for name, row in zip(net.heads, rows, strict=True)}


def update(config, rows, balance=None):
    """What a method makes of these gradients in the trunk, ``[11]``."""
    names = NAMES[: len(rows)]
    net = HydraNet(Trunk(), {name: Head() for name in names})
    balance = balance or config.build(names)
    losses = linear_losses(net, rows)
    balance.backward(losses, {name: HERE[name] for name in names}, net, torch.Tensor.backward)
    assert net.backbone.unused.grad is None
    for head in net.heads.values():
        assert torch.equal(head.own.grad, torch.ones(3, dtype=torch.float64)), "a head gets its plain gradient"
    return torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])


def pcgrad(rows, orders):
    """Algorithm 1 of the paper; ``orders`` are the random orders of the other tasks."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for i, order in enumerate(orders):
        g = rows[i].clone()
        for j in order:
            if j != i and g @ rows[j] < 0:
                g = g - (g @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += g
    return total


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_projects_in_an_order_drawn_from_torchs_generator(seed):
    rows = jacobian(seed)
    torch.manual_seed(seed)
    orders = [torch.randperm(4).tolist() for _ in range(4)]
    torch.manual_seed(seed)
    found = update(PCGradConfig(), rows)
    torch.testing.assert_close(found, pcgrad(rows, orders))
    assert not torch.allclose(found, rows.sum(dim=0))


def test_pcgrad_without_conflict_is_the_plain_sum():
    rows = jacobian(0, conflict=False)
    torch.testing.assert_close(update(PCGradConfig(), rows), rows.sum(dim=0))


@pytest.mark.parametrize("seed", range(5))
def test_mgda_of_two_tasks_in_closed_form(seed):
    one, two = rows = jacobian(seed, tasks=2)
    share = float(((two - one) @ two) / ((one - two) @ (one - two)))
    share = min(max(share, 0.0), 1.0)
    torch.testing.assert_close(update(MGDAConfig(), rows), share * one + (1 - share) * two)


def on_simplex(cost, count):
    """The weights that minimise a cost, by a general-purpose solver."""
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start, bounds = np.full(count, 1 / count), [(0, 1)] * count
    options = {"ftol": 1e-14, "maxiter": 500}
    return optimize.minimize(cost, start, bounds=bounds, constraints=constraint, options=options).x


@pytest.mark.parametrize("seed", range(3))
def test_mgda_is_the_shortest_convex_combination(seed):
    rows = jacobian(seed)
    best = torch.from_numpy(on_simplex(lambda w: ((w @ rows.numpy()) ** 2).sum(), 4)) @ rows
    found = update(MGDAConfig(), rows)
    assert float(found.norm()) == pytest.approx(float(best.norm()), rel=0.02)  # Frank-Wolfe stops early
    torch.testing.assert_close(found, best, rtol=0, atol=0.1 * float(best.norm()))


@pytest.mark.parametrize("c", [0.4, 0.8])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_cagrad_solves_its_dual(c, scale):
    rows = jacobian(0)
    mean = rows.numpy().mean(axis=0)
    root = c * np.linalg.norm(mean)
    w = on_simplex(lambda w: (w @ rows.numpy()) @ mean + root * np.linalg.norm(w @ rows.numpy()), 4)
    combined = w @ rows.numpy()
    expected = torch.from_numpy(mean + root / np.linalg.norm(combined) * combined)
    found = update(CAGradConfig(c=c), rows * scale) / scale
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_upgrad_projects_every_gradient_on_the_dual_cone(seed):
    rows = jacobian(seed).numpy()
    total = np.zeros(11)
    for row in rows:  # min ‖g − row‖² so that no task is harmed: g = row + rowsᵀ·v for the least-squares v ≥ 0
        v, _ = optimize.nnls(rows.T, -row)
        total += row + rows.T @ v
    found = update(UPGradConfig(), torch.from_numpy(rows)).numpy()
    assert (rows @ found > -1e-2 * np.abs(rows @ rows.T).max()).all()
    np.testing.assert_allclose(found, total / 4, rtol=0, atol=0.02 * np.abs(total).max())  # torchjd regularises


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_nash_mtl_is_the_bargaining_solution(seed, scale):
    rows = scale * jacobian(seed)
    products = (rows @ rows.T).numpy()
    found = optimize.root(lambda x: products @ np.exp(x) - np.exp(-x), -np.log(np.diag(products)) / 2, tol=1e-12)
    alpha = np.exp(found.x)
    np.testing.assert_allclose(products @ alpha, 1 / alpha)
    length = min(1.0, (4 * np.linalg.norm(products)) ** 0.5)
    expected = torch.from_numpy(alpha) @ rows
    torch.testing.assert_close(update(NashMTLConfig(), rows), length * expected / expected.norm())


@pytest.mark.parametrize("seed", range(3))
def test_nash_mtl_is_that_of_torchjd_where_its_solver_converges(seed):
    from torchjd.aggregation import NashMTL

    rows = jacobian(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = NashMTL(n_tasks=4)(rows)
    torch.testing.assert_close(update(NashMTLConfig(), rows), expected, rtol=1e-4, atol=1e-5)


def test_nash_mtl_of_opposite_gradients_stands_still():
    rows = jacobian(0)[:2]
    rows[1] = -2 * rows[0]
    assert float(update(NashMTLConfig(), rows).norm()) < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_aligned_mtl_evens_the_singular_values_out(seed):
    rows = jacobian(seed)
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    expected = (s.min() * u @ v).mean(dim=0)  # all singular values become the least one
    torch.testing.assert_close(update(AlignedMTLConfig(), rows), expected, rtol=1e-6, atol=1e-8)


def test_an_absent_task_fed_in_as_a_zero_loss_would_stop_mgda_but_ours_goes_on():
    rows = jacobian(0)
    rows[1] = 0
    assert float(update(MGDAConfig(), rows).norm()) == pytest.approx(0, abs=1e-9)
    net = HydraNet(Trunk(), {name: Head() for name in NAMES})
    losses, balance = linear_losses(net, rows), MGDAConfig().build(NAMES)
    balance.backward(losses, HERE | {"b": torch.tensor(False)}, net, torch.Tensor.backward)
    found = torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])
    torch.testing.assert_close(found, update(MGDAConfig(), rows[[0, 2, 3]]))
    assert float(found.norm()) > 0.1
    assert net.heads["b"].own.grad is None
    assert balance.weights().keys() == {"a", "c", "d"}


def test_comparing_every_third_update_keeps_the_weights_between():
    config = UPGradConfig(every=3)
    balance = config.build(NAMES)
    matrices = [jacobian(seed) for seed in range(5)]
    found = [update(config, rows, balance) for rows in matrices]
    fresh = [update(UPGradConfig(), rows) for rows in matrices]
    torch.testing.assert_close(found[0], fresh[0])
    torch.testing.assert_close(found[3], fresh[3])
    for between, last in ((1, 0), (2, 0), (4, 3)):
        weights = UPGradConfig().weighting()(matrices[last] @ matrices[last].T)
        torch.testing.assert_close(found[between], weights @ matrices[between])
        assert not torch.allclose(found[between], fresh[between], rtol=1e-3)


def test_a_change_of_the_present_tasks_compares_anew():
    balance, rows = UPGradConfig(every=9).build(NAMES), jacobian(0)
    net = HydraNet(Trunk(), {name: Head() for name in NAMES})
    for present in (HERE, HERE | {"b": torch.tensor(False)}):
        net.zero_grad()
        balance.backward(linear_losses(net, rows), present, net, torch.Tensor.backward)
    found = torch.cat([net.backbone.one.grad, net.backbone.two.grad.flatten()])
    torch.testing.assert_close(found, update(UPGradConfig(), rows[[0, 2, 3]]))


def test_a_failing_solver_is_a_plain_sum_and_one_warning(monkeypatch):
    rows, balance = jacobian(0), CAGradConfig().build(NAMES)

    def fail(products):
        raise RuntimeError("no\nsolution")

    monkeypatch.setattr(balance, "weighting", fail)
    with pytest.warns(UserWarning, match="balance cagrad: RuntimeError: no solution; a plain sum for this update"):
        torch.testing.assert_close(update(None, rows, balance), rows.sum(dim=0))
    monkeypatch.setattr(balance, "weighting", lambda products: products[0] * torch.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(update(None, rows, balance), rows.sum(dim=0))


def test_a_gradient_that_is_not_finite_is_let_through_and_named():
    rows = jacobian(0)
    rows[2, 3] = torch.nan
    with pytest.warns(UserWarning, match="balance upgrad: a gradient is not finite"):
        found = update(UPGradConfig(), rows)
    assert found.isnan().tolist() == [place == 3 for place in range(11)]


@pytest.mark.parametrize("config", [CAGradConfig(), UPGradConfig()], ids=lambda config: config.kind)
def test_a_missing_solver_is_named_with_its_extra(config, monkeypatch):
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"balance {config.kind} needs .*: pip install 'hybridvit\[balancing\]'"):
        config.build(NAMES)


def test_a_frozen_trunk_is_refused():
    net = HydraNet(Trunk().requires_grad_(False), {name: Head() for name in NAMES})
    losses = {name: head.own.sum() for name, head in net.heads.items()}
    with pytest.raises(ValueError, match="pcgrad has no effect: nothing in the trunk is trained"):
        PCGradConfig().build(NAMES).backward(losses, HERE, net, torch.Tensor.backward)


def test_gradients_are_laid_out_as_their_parameters():
    net = HydraNet(Trunk(), {name: Head() for name in NAMES})
    net.backbone.two.data = torch.zeros(3, 2, dtype=torch.float64).T
    PCGradConfig().build(NAMES).backward(linear_losses(net, jacobian(0)), HERE, net, torch.Tensor.backward)
    assert net.backbone.two.grad.stride() == net.backbone.two.stride() == (1, 2)


def test_inner_products_of_gradients_longer_than_a_chunk(monkeypatch):
    monkeypatch.setattr("hybridvit.hydra.balance.trunk_gradients.CHUNK", 7)
    rows = [[torch.randn(5, 3), torch.randn(2) if row != 1 else None, torch.randn(7)] for row in range(3)]
    whole = torch.stack([torch.cat([torch.zeros(2) if g is None else g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(gramian(rows), (whole @ whole.T).double(), rtol=1e-5, atol=1e-6)


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
        found = torch.autograd.grad((head(cut) ** 2).mean(), leaves, allow_unused=True)
        parts = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]
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
    balance.backward(losses, {name: HERE[name] for name in losses}, vit, torch.Tensor.backward)
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


def test_the_features_of_every_camera_are_seen():
    x = [torch.randn(2, 3, 5, requires_grad=True) for _ in range(3)]
    fixed = torch.randn(2, 0, 5)
    fused, front = Features(x[0], fixed, (1, 3), {}), Features(x[1], fixed, (1, 3), {4: x[2]})
    tap = FeatureTap()
    found = tap(None, None, ViewFeatures(fused, {"front": front}))
    assert isinstance(found, ViewFeatures)
    assert isinstance(found.fused, Features)
    seen = [found.fused.tokens, found.views["front"].tokens, found.views["front"].maps[4]]
    assert all(one is other for one, other in zip(tap.take(), seen, strict=True))
    assert found.fused.prefix is fixed
    assert found.fused.grid == (1, 3)


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
