"""The reconstruction task: pixels of cells against a slow loop, the loss by hand, gradients of what was seen."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.models import create_backbone
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask
from hybridvit.tasks.objectives import FeatureDistillationTask, ReconstructionTask, SharedHead, normalised_maps

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


SHAPES = ((1, 1, 2), (3, 1, 1))


def task(weight=2.5, shapes=SHAPES):
    return FeatureDistillationTask("cnn_teacher", shapes, weight, "cnn_teacher")


def test_loss_by_hand():
    prediction = torch.tensor([[1.0, 2, 0, 0, 3], [9, 9, 9, 9, 9], [0, 0, 1, 1, 1]], requires_grad=True)
    target = torch.tensor([[0.0, 0, 0, 0, 0], [NAN] * 5, [1, 1, 0, 0, 0]])
    first = (1 + 4) / 2 + 9 / 3
    third = 1 + 1
    loss = task().loss(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(2.5 * (first + third) / 2)
    assert task().mixed_loss(prediction, target, (torch.arange(3), torch.ones(3))) == loss
    assert not prediction.grad[1].any()
    assert prediction.grad[0, 1].item() == pytest.approx(2.5 * (2 * 2 / 2) / 2)
    assert task().labelled(target).tolist() == [True, False, True]


def test_images_that_the_cnn_said_nothing_of_change_nothing():
    prediction = torch.full((2, 5), NAN, requires_grad=True)
    loss = task().loss(prediction, torch.full((2, 5), NAN))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


def test_features_are_normalised_over_the_channels_of_each_cell():
    maps = [torch.randn(2, 5, 3, 7) * 4 + 1, torch.rand(2, 3, 2, 2) + torch.randn(2, 1, 2, 2)]
    flat = normalised_maps(maps)
    assert flat.shape == (2, 5 * 21 + 3 * 4)
    first = maps[0].double().numpy()
    expected = (first - first.mean(1, keepdims=True)) / np.sqrt(first.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(flat[:, : 5 * 21].view(2, 5, 3, 7), expected, rtol=1e-4, atol=1e-5)
    assert not normalised_maps([torch.zeros(1, 5, 2, 2)]).any()  # a cell that no channel answers to


def taught(layers, shapes):
    """A small vision transformer with a class token from block 1 on, and a head that follows some of its blocks."""
    config = ViTConfig(embed_dim=12, depth=3, num_heads=2, tokenizer=PatchConfig(patch_size=4), class_token_layer=1)
    backbone = create_backbone(config, (12, 20), in_channels=1)
    head = FeatureDistillationTask("cnn_teacher", shapes, 1.0, "cnn_teacher").head(backbone.spec)
    for tap, layer in zip(head.taps, layers, strict=True):
        tap.listen(backbone.blocks[layer])
    return backbone, head


def test_the_head_maps_the_blocks_that_it_follows(randomise):
    layers, shapes = (0, 2), ((5, 6, 10), (7, 2, 3))
    backbone, head = taught(layers, shapes)
    randomise(backbone), randomise(head)
    images = torch.randn(2, 1, 12, 20)
    found = head(backbone(images))
    read_apart = backbone.layer_features(images)
    expected = []
    for layer, project, (_, rows, columns) in zip(layers, head.project, shapes, strict=True):
        cells = read_apart[layer].tokens @ project.weight.T + project.bias
        image = cells.transpose(1, 2).unflatten(2, (3, 5))
        expected.append(F.interpolate(image, size=(rows, columns), mode="bilinear").flatten(1))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_nothing_is_followed_in_evaluation_nor_after_the_taps_are_off():
    backbone, head = taught((0, 2), ((5, 6, 10), (7, 2, 3)))
    images = torch.randn(2, 1, 12, 20)
    backbone.eval()
    assert head(backbone(images)).shape == (2, 0)
    backbone.train()
    assert head(backbone(images)).shape == (2, 342)
    for tap in head.taps:
        tap.stop()
    assert head(backbone(images)).shape == (2, 0)


def test_a_copy_follows_its_own_blocks():
    net = nn.ModuleList(taught((0, 2), ((5, 6, 10), (7, 2, 3))))
    images = torch.randn(2, 1, 12, 20)
    net[0](images)  # leaves something in the taps
    backbone, head = copied = copy.deepcopy(net)
    assert head(Features(torch.zeros(2, 15, 12), torch.zeros(2, 1, 12), (3, 5), {})).shape == (2, 0)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert not head(backbone(images)).any()
    assert net[1](net[0](images)).any()
    for tap in head.taps:
        tap.stop()
    assert head(backbone(images)).shape == (2, 0)
    assert net[1](net[0](images)).shape == (2, 342)


def test_logits_are_followed_by_their_weighted_divergence():
    student, teacher = torch.randn(2, 5, 3) * 2
    teacher[1] = NAN
    known = [0, 2, 3, 4]
    p, q = (softmax(x.double().numpy(), axis=1) for x in (teacher, student))
    expected = 1.7 * np.mean([entropy(p[i], q[i]) for i in known])
    config = DistillationConfig(teacher="teacher", task="label", mode="soft", target="x")
    loss = DistillationTask("cnn_teacher_label", ("ant", "bee", "cat"), config, 1.7).loss(student, teacher)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_shared_head_answers_as_the_other_and_owns_nothing():
    class First(nn.Linear):
        def forward(self, features):
            return super().forward(features.prefix[:, 0])

    heads = nn.ModuleDict({"label": First(11, 3)})
    heads["again"] = SharedHead(heads["label"])
    seen = Features(torch.randn(2, 15, 11), torch.randn(2, 1, 11), (3, 5), {})
    assert torch.equal(heads["again"](seen), heads["label"](seen))
    assert list(heads.state_dict()) == ["label.weight", "label.bias"]
    assert sum(p.numel() for p in heads.parameters()) == 36
    copied = copy.deepcopy(heads)
    nn.init.zeros_(copied["label"].weight), nn.init.zeros_(copied["label"].bias)
    assert not copied["again"](seen).any()
