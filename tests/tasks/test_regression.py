"""The regression task: any unit, periodic angles, metrics against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.regression import RegressionConfig, RegressionTask

NAN = float("nan")
NAMES = ("x", "y", "z")
MEAN, STD = (1e6, -0.02, 3.0), (2e4, 1e-3, 2.0)
SPEC = FeatureSpec(7, (3, 5), 0, "mean", {})


def plain(mean=MEAN, std=STD):
    return RegressionTask("t", NAMES, RegressionConfig(target="c"), mean, std)


def angular(unit="degrees"):
    return RegressionTask("t", NAMES, RegressionConfig(target="c", angle=unit))


def sample(n=23):
    target = torch.randn(n, 3) * torch.tensor(STD) + torch.tensor(MEAN)
    prediction = target + torch.randn(n, 3) * 1.5 * torch.tensor(STD)
    target[torch.rand(n, 3) < 0.3] = NAN
    return prediction, target


def pairs(degrees):
    radians = torch.as_tensor(degrees).deg2rad()
    return torch.stack([radians.sin(), radians.cos()], dim=-1).flatten(1)


def test_loss_is_smooth_l1_of_standardised_errors():
    prediction, target = sample()
    losses = []
    for row, labels in zip(prediction.double().tolist(), target.double().tolist(), strict=True):
        for p, y, s in zip(row, labels, STD, strict=True):
            if not math.isnan(y):
                e = abs(p - y) / s
                losses.append(e**2 / 2 if e < 1 else e - 0.5)
    assert plain().loss(prediction, target).item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert 0 < len(losses) < target.numel()


def test_a_missing_component_has_no_gradient():
    prediction, target = sample()
    prediction[target.isnan()] = NAN
    prediction.requires_grad_()
    plain().loss(prediction, target).backward()
    assert not prediction.grad[target.isnan()].any()
    assert prediction.grad[~target.isnan()].all()


def test_the_unit_changes_no_gradient_of_the_layers(randomise):
    """Metres or millimetres: the same learning."""
    features = Features(torch.randn(4, 15, 7), torch.zeros(4, 0, 7), (3, 5), {})
    standard = torch.randn(4, 3)
    slopes = []
    for mean, std in [((0.0,) * 3, (1.0,) * 3), ((7.0, -5.0, 3.0), (1e3, 1e-2, 8.0))]:
        torch.manual_seed(1)
        task = plain(mean, std)
        head = randomise(task.head(SPEC))
        target = standard * torch.tensor(std) + torch.tensor(mean)
        slopes.append(torch.autograd.grad(task.loss(head(features), target), list(head.parameters())))
    for a, b in zip(*slopes, strict=True):
        assert a.any()
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)


def test_head_answers_in_units_and_keeps_them_with_its_weights(randomise):
    head = randomise(plain().head(SPEC))
    features = Features(torch.randn(2, 15, 7), torch.zeros(2, 0, 7), (3, 5), {})
    raw = features.tokens.mean(1) @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head(features), raw * torch.tensor(STD) + torch.tensor(MEAN))
    other = plain(None, None).head(SPEC)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features), head(features))
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features).dtype == torch.float32  # 1e6 ± 2e4 has no digits in bf16


def test_metrics_agree_with_scikit_learn():
    prediction, target = sample()
    task = plain()
    metric = task.metric()
    for part in (slice(0, 5), slice(5, 23)):
        task.observe(metric, prediction[part], target[part])
    r2, mae = [], []
    for c in range(3):
        known = ~target[:, c].isnan()
        y, p = target[known, c].double().numpy(), prediction[known, c].double().numpy()
        r2.append(r2_score(y, p))
        mae.append(mean_absolute_error(y, p))
    values = metric.compute()
    assert values["r2"].item() == pytest.approx(np.mean(r2), rel=1e-6)
    assert values["mae"].item() == pytest.approx(np.mean(mae), rel=1e-6)


def test_components_that_never_vary_have_no_r2_but_an_error():
    task = plain(None, None)
    metric = task.metric()
    target = torch.tensor([[5.1, 1.0, NAN], [5.1, 3.0, NAN], [5.1, 2.0, NAN]])
    task.observe(metric, torch.tensor([[6.1, 1.0, 0], [6.1, 2.0, 0], [6.1, 3.0, 0]]), target)
    values = metric.compute()
    assert values["r2"].item() == pytest.approx(1 - 2 / 2)
    assert values["mae"].item() == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(("unit", "turn"), [("degrees", 360.0), ("radians", 2 * math.pi)])
def test_angle_loss_is_one_minus_the_cosine_and_periodic(unit, turn):
    task = angular(unit)
    prediction = torch.randn(9, 6)
    target = (torch.rand(9, 3) * 4 - 2) * turn
    target[2, 1] = target[4] = NAN
    losses = []
    for row, labels in zip(prediction.double().tolist(), target.double().tolist(), strict=True):
        for c, y in enumerate(labels):
            if not math.isnan(y):
                losses.append(1 - math.cos(math.atan2(row[2 * c], row[2 * c + 1]) - y * 2 * math.pi / turn))
    assert task.loss(prediction, target).item() == pytest.approx(np.mean(losses), rel=1e-4)
    torch.testing.assert_close(task.loss(prediction, target + turn), task.loss(prediction, target), rtol=1e-4, atol=0)
    torch.testing.assert_close(task.loss(prediction * 7, target), task.loss(prediction, target), rtol=1e-4, atol=0)


def test_angle_metrics_wrap_by_hand():
    task = angular()
    metric = task.metric()
    # errors: 20 across the cut, 90, and 180; the last column is missing but once
    task.observe(
        metric,
        pairs([[170.0, 0.0, 5.0], [180.0, 90.0, 10.0]]),
        torch.tensor([[-170.0, 720.0 + 90.0, NAN], [0.0, -270.0, 370.0]]),
    )
    values = metric.compute()
    assert values["mae"].item() == pytest.approx(((20 + 180) / 2 + (90 + 0) / 2 + 0) / 3, abs=1e-4)
    cosine = ((math.cos(math.radians(20)) - 1) / 2 + (0 + 1) / 2 + 1) / 3
    assert values["cosine"].item() == pytest.approx(cosine, abs=1e-6)


def test_decode_by_hand():
    assert plain().decode(torch.tensor([[1.0, 2, 3]])) == [{"x": 1.0, "y": 2.0, "z": 3.0}]
    row = angular().decode(3 * pairs([[-170.0, 30.0, 200.0]]))[0]
    assert [row[name] for name in NAMES] == pytest.approx([-170, 30, -160], abs=1e-3)
    row = angular("radians").decode(pairs([[-90.0, 30.0, 200.0]]))[0]
    assert row["x"] == pytest.approx(-math.pi / 2)


def test_a_constant_component_is_not_divided_by_zero():
    task = plain((0.0, 0, 0), (0.0, 2.0, 4.0))
    assert task.std == (1.0, 2.0, 4.0)
    assert task.loss(torch.ones(1, 3), torch.zeros(1, 3)).isfinite()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="angle must be none, degrees or radians, given 'turns'"):
        RegressionConfig(target="c", angle="turns")
    with pytest.raises(ValueError, match="std of task 't' must be a finite number for each of x, y, z, given"):
        plain(MEAN, (1.0, 2.0))
    with pytest.raises(ValueError, match="mean of task 't' must be a finite number"):
        plain((1.0, NAN, 2.0), STD)
    with pytest.raises(ValueError, match="std must not be negative"):
        plain(MEAN, (1.0, -2.0, 1.0))
    with pytest.raises(ValueError, match="not standardised: leave mean and std out"):
        RegressionTask("t", NAMES, RegressionConfig(target="c", angle="degrees"), MEAN, STD)
