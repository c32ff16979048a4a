"""Learned loss weights: by hand, and against torch's Adam and torchjd's FAMO."""

import math

import pytest
import torch

from hybridvit.hydra.balance.loss_weighting import DWAConfig, FAMOConfig, GradNormConfig, UncertaintyConfig

NAMES = ("a", "b", "c")
PRESENT = dict.fromkeys(NAMES, torch.tensor(True))


def test_uncertainty_is_adam_on_the_log_variances(learned):
    balance = UncertaintyConfig(lr=0.2).build(NAMES)
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s], lr=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(13):
        values = torch.rand(3, generator=generator, dtype=torch.float64) * 3
        assert learned.update(balance, values) == pytest.approx((-s).exp().tolist(), rel=1e-5)
        adam.zero_grad()
        ((-s).exp() * values + s / 2).sum().backward()
        adam.step()
    assert balance.weights().keys() == set(NAMES)


def test_uncertainty_settles_at_half_the_inverse_loss(learned):
    balance = UncertaintyConfig(lr=0.05).build(NAMES)
    for _ in range(400):
        actual = learned.update(balance, (0.25, 1.0, 4.0))
    assert actual == pytest.approx([2.0, 0.5, 0.125], rel=0.02)


def test_dwa_by_hand(learned):
    balance = DWAConfig(temperature=2.0, window=2).build(NAMES)
    course = [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0), (1.0, 1.0, 4.0), (2.0, 1.0, 2.0), (9.0, 9.0, 9.0), (1.0, 1.0, 1.0)]
    actual = [learned.update(balance, values) for values in course]
    assert actual[:4] == [pytest.approx([1, 1, 1])] * 4  # two windows of two are over after the fourth
    raised = [math.exp(r / 2) for r in (1.5 / 2, 1 / 2, 3 / 2)]  # means 2, 2, 2, then 1.5, 1, 3
    expected = [3 * e / sum(raised) for e in raised]
    assert actual[4] == pytest.approx(expected, rel=1e-6)
    assert actual[5] == pytest.approx(expected, rel=1e-6)
    raised = [math.exp(r / 2) for r in (5 / 1.5, 5 / 1, 5 / 3)]
    assert learned.update(balance, (1, 1, 1)) == pytest.approx([3 * e / sum(raised) for e in raised], rel=1e-6)


def test_dwa_counts_only_updates_that_have_the_task(learned):
    balance, net = DWAConfig(window=2).build(NAMES), learned.net()
    for step in range(6):
        losses = learned.losses(net, torch.tensor([1.0, 2.0 + step, 3.0]), torch.ones(3, 2))
        present = PRESENT | {"b": torch.tensor(step % 2 == 0)}
        balance.backward(losses, present, net, torch.Tensor.backward)
    assert float(balance.state()["last.b"]) == 3.0  # mean of steps 0 and 2
    assert math.isnan(float(balance.state()["last_but_one.b"]))
    assert float(balance.state()["sum.b"]) == 6.0


def test_gradnorm_by_hand(learned):
    alpha, lr = 1.5, 0.1
    balance = GradNormConfig(alpha=alpha, lr=lr).build(NAMES)
    slopes = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 2.0]])  # norms 5, 1, 2
    first, second = (2.0, 4.0, 1.0), (2.26, 4.0, 0.87)
    assert learned.update(balance, first, slopes) == pytest.approx([1, 1, 1])
    # all paces are 1 and the mean norm is 8/3: the first weight falls, the others rise, each by lr (Adam's first step)
    moved = [1 - lr, 1 + lr, 1 + lr]
    weights = [3 * w / sum(moved) for w in moved]
    assert learned.update(balance, second, slopes) == pytest.approx(weights, rel=1e-5)

    # the third gradient exceeds its target only because alpha is more than 1
    w = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    norms = torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64)
    left = torch.tensor([1.13, 1.0, 0.87], dtype=torch.float64)
    target = ((w * norms).mean() * (left / left.mean()) ** alpha).detach()
    (w * norms - target).abs().sum().backward()
    before = torch.tensor([5.0, -1.0, -2.0], dtype=torch.float64)  # the first step's gradient
    mean, square = 0.09 * before + 0.1 * w.grad, 0.000999 * before**2 + 0.001 * w.grad**2
    w = w.detach() - lr * (mean / (1 - 0.9**2)) / (square / (1 - 0.999**2)).sqrt()
    assert learned.update(balance, (1.0, 1.0, 1.0), slopes) == pytest.approx((3 * w / w.sum()).tolist(), rel=1e-4)


def test_gradnorm_evens_the_norms_out(learned):
    balance = GradNormConfig(alpha=0.0, lr=0.01).build(NAMES)
    slopes = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 2.0]])
    for _ in range(400):
        actual = learned.update(balance, (1.0, 2.0, 3.0), slopes)
    assert actual == pytest.approx([3 * w / 1.7 for w in (0.2, 1.0, 0.5)], rel=0.1)


def test_gradnorm_needs_a_matrix_in_the_trunk(learned):
    net = learned.net()
    net.backbone.first.requires_grad_(False)
    net.backbone.middle.requires_grad_(False)
    losses = learned.losses(net, torch.ones(3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="gradnorm has no effect"):
        GradNormConfig().build(NAMES).backward(losses, PRESENT, net, torch.Tensor.backward)


def test_famo_is_that_of_torchjd(learned):
    from torchjd.scalarization import FAMO

    oracle = FAMO(3, lr=0.1, weight_decay=0.01)
    balance = FAMOConfig(lr=0.1, decay=0.01).build(NAMES)
    assert balance.needs_second_forward
    generator = torch.Generator().manual_seed(0)
    for _ in range(13):
        before = torch.rand(3, generator=generator) * 2 + 0.1
        after = before * (0.5 + torch.rand(3, generator=generator))
        expected = before.clone().requires_grad_()
        oracle(expected).backward()
        assert learned.update(balance, before, after=after) == pytest.approx(expected.grad.tolist(), rel=1e-4)
        oracle.update(after)


def test_famo_gives_weight_to_the_loss_that_falls_least(learned):
    balance = FAMOConfig(lr=0.1).build(NAMES)
    for _ in range(20):
        actual = learned.update(balance, (1.0, 1.0, 1.0), after=(0.5, 0.9, 0.5))
    assert actual[1] > 0.5
    assert actual[0] == pytest.approx(actual[2])
    assert sum(actual) == pytest.approx(1)
