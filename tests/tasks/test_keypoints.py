"""The keypoint task: loss against a loop, points recovered to fractions of a cell, metrics by hand."""

import math

import numpy as np
import pytest
import torch

from hybridvit.backbones.features import FeatureSpec
from hybridvit.tasks.keypoints import KeypointsConfig, KeypointsTask

NAN = float("nan")
POINTS = ("nose", "tail")
SIZE = (28, 44)  # height, width
GRID = (7, 11)


def task(**config):
    return KeypointsTask("t", POINTS, KeypointsConfig(target="x", width=8, **config), SIZE)


def ideal(points, grid=GRID, sigma=1.0):
    """Logits [b, k, gh, gw] that a perfect head would learn."""
    y = (torch.arange(grid[0]) + 0.5)[:, None]
    x = torch.arange(grid[1]) + 0.5
    u, v = (points[..., i, None, None] * grid[1 - i] / SIZE[1 - i] for i in (0, 1))
    return -((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2)


def test_loss_is_the_cross_entropy_with_a_gaussian_that_sums_to_one():
    logits = torch.randn(3, 2, *GRID) * 2
    target = torch.tensor([[[3.0, 5.0], [43.0, 27.5]], [[NAN, NAN], [20.0, 0.0]], [[NAN, 4.0], [NAN, NAN]]])
    losses = []
    for b, k in [(0, 0), (0, 1), (1, 1)]:
        x, y = target[b, k].tolist()
        weight = np.array(
            [
                [math.exp(-(((j + 0.5) - x / 4) ** 2 + ((i + 0.5) - y / 4) ** 2) / (2 * 1.5**2)) for j in range(11)]
                for i in range(7)
            ]
        )
        log_p = logits[b, k].double().flatten().log_softmax(0).view(GRID).numpy()
        losses.append(-(weight / weight.sum() * log_p).sum())
    assert task(sigma=1.5).loss(logits, target).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_ideal_logits_have_the_least_loss_and_no_gradient():
    points = torch.rand(4, 2, 2) * torch.tensor(SIZE[::-1])
    logits = ideal(points).requires_grad_()
    loss = task().loss(logits, points)
    assert torch.autograd.grad(loss, logits)[0].abs().max() < 1e-6
    assert task().loss(logits + 0.3 * torch.randn_like(logits), points) > loss


@pytest.mark.parametrize(("grid", "sigma"), [(GRID, 1.0), ((3, 5), 0.7), ((13, 6), 2.0)])
def test_points_are_recovered_between_cells_and_at_the_edges(grid, sigma):
    points = torch.rand(200, 2, 2) * torch.tensor(SIZE[::-1])
    points[0] = torch.tensor([[0.0, 0.0], [44.0, 28.0]])
    points[1] = torch.tensor([[0.3, 27.9], [43.8, 0.1]])
    torch.testing.assert_close(task(sigma=sigma).coordinates(ideal(points, grid, sigma)), points, rtol=0, atol=0.02)


def test_coordinates_of_strange_maps_stay_in_the_image():
    flat = task().coordinates(torch.zeros(1, 2, *GRID))
    spike = torch.zeros(1, 2, *GRID)
    spike[0, 0, 2, 9] = 50
    assert task().coordinates(spike)[0, 0].tolist() == pytest.approx([9.5 * 4, 2.5 * 4])
    assert ((flat >= 0) & (flat <= torch.tensor([44.0, 28.0]))).all()
    for grid in [(1, 1), (2, 1), (1, 7)]:
        found = task().coordinates(torch.randn(3, 2, *grid))
        assert ((found >= 0) & (found <= torch.tensor([44.0, 28.0]))).all()


def test_points_outside_the_image_count_as_missing():
    logits = torch.randn(1, 2, *GRID, requires_grad=True)
    target = torch.tensor([[[44.5, 10.0], [10.0, -3.0]]])
    loss = task().loss(logits, target)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
    assert not task().labelled(target)[0]
    assert task().labelled(torch.tensor([[[NAN, NAN], [44.0, 28.0]]]))[0]


def test_metrics_by_hand():
    target = torch.tensor([[[10.0, 10.0], [30.0, 20.0]], [[20.0, 8.0], [NAN, NAN]]])
    moved = target + torch.tensor([[[0.0, 2.0], [3.0, 4.0]], [[2.5, 0.0], [0.0, 0.0]]])  # 2, 5, 2.5 px
    one = task(pck_threshold=0.055)  # 2.42 px of 44
    metric = one.metric()
    one.observe(metric, ideal(moved.nan_to_num(5.0)), target)
    values = metric.compute()
    assert values["pck"].item() == pytest.approx(1 / 3)
    assert values["distance"].item() == pytest.approx((2 + 5 + 2.5) / 3, abs=1e-3)


def test_decode_names_points_with_confidence():
    points = torch.tensor([[[13.0, 5.0], [30.0, 20.0]]])
    logits = ideal(points)
    logits[0, 1] = 0.0  # says nothing
    row = task().decode(logits)[0]
    assert list(row) == list(POINTS)
    assert (row["nose"]["x"], row["nose"]["y"]) == pytest.approx((13, 5), abs=0.02)
    assert 0.95 < row["nose"]["confidence"] <= 1
    assert row["tail"]["confidence"] < 0.35


@pytest.mark.parametrize(
    ("maps", "stride", "expected"),
    [({16: 5}, None, 4), ({2: 3, 4: 5, 8: 7}, None, 4), ({1: 5}, None, 1), ({1: 3, 2: 5}, None, 2), ({16: 5}, 8, 8)],
)
def test_heat_maps_have_stride_four_where_they_can(maps, stride, expected):
    assert task(stride=stride).head(FeatureSpec(7, (3, 5), 0, "mean", maps)).neck.stride == expected


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"sigma must be at least 0\.5, given 0\.1"):
        task(sigma=0.1)
    with pytest.raises(ValueError, match="pck_threshold must be below 1, given 5"):
        task(pck_threshold=5)
