"""GradNorm, by hand."""

import pytest
import torch

from hybridvit.hydra.balance.gradnorm import GradNormConfig

NAMES = ("a", "b", "c")
PRESENT = dict.fromkeys(NAMES, torch.tensor(True))


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
