"""The reconstruction task: pixels of cells against a slow loop, the loss by hand, gradients of what was seen."""

import pytest
import torch

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.objectives import ReconstructionTask

NAN = float("nan")


def spec(grid, dim=7):
    return FeatureSpec(dim, grid, 1, "cls", {4: dim})


def features(b, grid, dim=7):
    return Features(torch.randn(b, grid[0] * grid[1], dim), torch.randn(b, 1, dim), grid, {})


def test_every_token_draws_its_own_cell(randomise):
    c, (rows, columns), (height, width) = 2, (3, 5), (4, 3)
    head = randomise(ReconstructionTask("t", (c, rows * height, columns * width)).head(spec((rows, columns))))
    seen = features(2, (rows, columns))
    picture = head(seen)
    assert picture.shape == (2, c, 12, 15)
    weight, bias = head.fc.weight.view(c, height, width, 7), head.fc.bias.view(c, height, width)
    for y in range(rows * height):
        for x in range(columns * width):
            token = seen.tokens[:, (y // height) * columns + x // width]
            expected = token @ weight[:, y % height, x % width].T + bias[:, y % height, x % width]
            torch.testing.assert_close(picture[:, :, y, x], expected, rtol=1e-4, atol=1e-5)


def test_images_that_the_grid_does_not_divide_are_drawn_whole():
    head = ReconstructionTask("t", (1, 29, 11)).head(spec((8, 3)))
    seen = features(1, (8, 3))
    bright = seen.tokens.clone()
    bright[:, -1] = 10 * head.fc.weight.sum(0)
    change = (head(seen._replace(tokens=bright)) - head(seen))[0, 0].abs()
    assert change.shape == (29, 11)
    assert change[-1, -1] > 1
    assert not change[:23].any()
    assert not change[:, :6].any()


def test_loss_by_hand_and_no_gradient_of_what_was_seen():
    task = ReconstructionTask("t", (1, 2, 2))
    target = torch.tensor([[[[1.0, NAN], [NAN, -2.0]]], [[[NAN, NAN], [NAN, 0.5]]]])
    prediction = torch.tensor([[[[1.5, NAN], [7.0, 1.0]]], [[[1e30, -3.0], [NAN, 0.0]]]], requires_grad=True)
    loss = task.loss(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx((0.5 + 3.0 + 0.5) / 3)
    expected = torch.tensor([[[[1.0, 0], [0, 1]]], [[[0, 0], [0, -1]]]]) / 3
    assert torch.equal(prediction.grad, expected)
    assert task.labelled(target).tolist() == [True, True]


def test_an_image_that_hides_nothing_changes_nothing():
    task = ReconstructionTask("t", (1, 2, 2))
    prediction, blank = torch.full((1, 1, 2, 2), NAN, requires_grad=True), torch.full((1, 1, 2, 2), NAN)
    loss = task.loss(prediction, blank)
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()
    assert task.labelled(blank).tolist() == [False]
